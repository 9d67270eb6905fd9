_pixio_home=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH=$_pixio_home/underlay/bin:$PATH
for _pixio_library in "$_pixio_home"/underlay/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*; do
  export PIXIO_ONNXRUNTIME=$_pixio_library
done
unset _pixio_home _pixio_underlay _pixio_libraries _pixio_folder _pixio_library

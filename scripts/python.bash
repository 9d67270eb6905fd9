_pixio_home=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH=$_pixio_home/underlay/bin:$PATH
for _pixio_library in "$_pixio_home"/underlay/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*; do
  export PIXIO_ONNXRUNTIME=$_pixio_library
done
# TensorRT's headers, which engines/tensorrt/build.rs looks for: those of the system, else those that setup.sh fetched.
if [ -d "$_pixio_home/tensorrt/headers" ]; then
  export PIXIO_TENSORRT_CHECKS=$_pixio_home/tensorrt
  export PIXIO_NVRTC=$_pixio_home/tensorrt/nvrtc/nvidia/cuda_nvrtc/lib/libnvrtc.so.12
  if [ -z "${TENSORRT_INCLUDE_DIR:-}" ] && [ ! -f "/usr/include/$(uname -m)-linux-gnu/NvInfer.h" ]; then
    export TENSORRT_INCLUDE_DIR=$_pixio_home/tensorrt/headers/TRT-Enterprise-11.4
  fi
  export TENSORRT_RTX_INCLUDE_DIR=${TENSORRT_RTX_INCLUDE_DIR:-$_pixio_home/tensorrt/headers/TRT-RTX-1.7}
fi
for _pixio_folder in "$_pixio_home"/underlay/lib/python3*/site-packages/skimage/data; do
  export PIXIO_SKIMAGE_DATA=$_pixio_folder
done
unset _pixio_home _pixio_underlay _pixio_libraries _pixio_folder _pixio_library

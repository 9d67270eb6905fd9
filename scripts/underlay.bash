# Source this: ROS 2 Jazzy from the wheels in .pixio/underlay, as /opt/ros/jazzy/setup.bash would give it.
_pixio_home=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
_pixio_underlay=$_pixio_home/underlay
export AMENT_PREFIX_PATH=$_pixio_underlay ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3
export LIBRARY_PATH=$_pixio_underlay/lib/linker${LIBRARY_PATH:+:$LIBRARY_PATH}
_pixio_libraries=$_pixio_underlay/lib
for _pixio_folder in "$_pixio_underlay"/lib/python3.11/site-packages/*.libs; do
  _pixio_libraries=$_pixio_libraries:$_pixio_folder
done
export LD_LIBRARY_PATH=$_pixio_libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# librcl.so of the wheels needs Python's symbols: the nodes' build links this library (nodes/ros/build.rs).
export PIXIO_LIBPYTHON=/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0

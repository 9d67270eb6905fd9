//! Action chunks and the way from them to safe commands. No ROS.

# Source this: ROS stays on this machine, in a domain that no one else uses.
export ROS_DOMAIN_ID=${ROS_DOMAIN_ID:-$(python3 "$(dirname "${BASH_SOURCE[0]}")/free_domain.py")}
if [ "${ROS_DISTRO:-}" = humble ]; then
  export ROS_LOCALHOST_ONLY=1
else
  export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
fi

# `make demo` shows the main job on real pictures; `make test` runs every check. Both set up what they need.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
SECONDS ?= 15
DRIVER ?= expert
demo-robot: SCENE ?= hammer-v3
demo-robot: EPISODES ?= 5
demo-record: SCENE ?= drawer-open-v3
demo-record: EPISODES ?= 25
TRIES ?= 5
BENCHES ?=

# A shell with ROS (the one that is sourced, or the underlay) and ONNX Runtime.
ENVIRONMENT = source .pixio/setup.bash
# The whole workspace, so that every target here builds dependencies with the same features, once.
NODES = cargo build --release -q --workspace --bins --examples
TARGET = $${CARGO_TARGET_DIR:-target}/release

.PHONY: help setup demo demo-robot demo-record test lint unit ros-test reference referees bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: ## install and make what everything below needs
	@scripts/setup.sh

demo: setup ## stream photographs over ROS 2 into perception_node and show the depth (SECONDS=0: until Ctrl-C)
	@$(ENVIRONMENT); scripts/demo.sh $(SECONDS)

demo-robot: setup ## a simulated robot at work, depth against truth, a film (SCENE=hammer-v3 EPISODES=5 DRIVER=expert|policy)
	@$(ENVIRONMENT); $(NODES); scripts/demo_robot.sh $(SCENE) $(EPISODES) $(DRIVER)

demo-record: setup ## record the simulated robot's expert, train a policy on that, drive it (SCENE=drawer-open-v3 EPISODES=25 TRIES=5)
	@$(ENVIRONMENT); $(NODES); scripts/demo_record.sh $(SCENE) $(EPISODES) $(TRIES)

test: setup lint unit ros-test ## every check

lint: setup ## formatting, lints as errors
	cargo fmt --all --check
	$(ENVIRONMENT); cargo clippy --release -q --workspace --all-targets -- -D warnings
	$(ENVIRONMENT); python3 scripts/kernels.py check

unit: setup ## tests that need no ROS graph
	$(ENVIRONMENT); cargo test --release -q --workspace

ros-test: setup ## nodes against rclpy peers over real ROS 2
	$(ENVIRONMENT); $(NODES); export PIXIO_BIN=$$(realpath $(TARGET)); scripts/ros_test.sh

reference: setup ## write docs/reference.md from what the nodes declare
	$(ENVIRONMENT); $(NODES); python scripts/reference.py $(TARGET) > docs/reference.md.new; \
	  mv docs/reference.md.new docs/reference.md

referees: setup ## checks against heavy third parties (PyTorch, transformers, MuJoCo, TensorRT-RTX); by hand
	$(ENVIRONMENT); $(NODES); tests/referees/run.sh

bench: setup ## measurements side by side with PyTorch, OpenVINO, rclpy (BENCHES="engines soak"); by hand, on a quiet machine
	$(ENVIRONMENT); $(NODES); tests/bench/run.sh $(BENCHES)

clean: ## remove what was built here
	rm -rf target out .pixio

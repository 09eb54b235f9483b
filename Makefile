# make setup   virtual environment, Python packages, EGL libraries; quick when repeated
# make demo    the whole path on real data; FREEZE=none trains a naive twin beside it
# make test    all tests;  PYTEST_ARGS='test/test_boxes.py -x' for some
# make check   lint, format, types
# make bench   speed beside peers: a table and build/bench/results.json;  BENCH_ARGS='--only live'
# make clean   remove what was built; the virtual environment stays

SHELL := /bin/bash
BIN := .venv/bin
READY := .venv/.ready-$(or $(ROS_DISTRO),wheels)

DATA ?= $(wildcard ../shared/data)
WEIGHTS ?= $(wildcard ../shared/weights)
PEERS ?= $(wildcard ../shared/peers)
FREEZE ?= first_stage
export DATA := $(abspath $(DATA))
export WEIGHTS := $(abspath $(WEIGHTS))

.PHONY: setup demo test check bench clean

setup: $(READY)

$(READY): requirements.txt requirements-dev.txt requirements-ros.txt setup.py setup.cfg tools/setup.sh
	tools/setup.sh
	@touch $@

demo: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python demo/run.py --freeze $(FREEZE) $(DEMO_ARGS)

# Plugins that a sourced ROS 2 brings along are made for another pytest.
test: setup
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	tools/peers.sh build/peers
	$(BIN)/python bench/run.py --data "$$DATA" --weights "$$WEIGHTS" \
	  --peer "$(PEERS)/plain_pyrender.py" --peers-python build/peers/bin/python $(BENCH_ARGS)

clean:
	rm -rf build install log .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -path ./.venv -prune -o -name __pycache__ -print0 | xargs -0 rm -rf

# make setup   virtual environment, Python packages, EGL libraries; quick when repeated
# make demo    the whole path on real frames, which it fetches; QUICK=1 in small; TWINS='naive real'
#              trains others beside it; DETECTOR=mask_rcnn; DATA=, WEIGHTS= or VIDEO=, PHOTOS=
#              real data of your own
# make test    all tests;  PYTEST_ARGS='test/geometry/test_boxes.py -x' for some
# make check   lint, format, types
# make oldest  the tests with the oldest versions that the requirements allow, in build/oldest
# make lock    requirements.lock: all packages with versions and hashes; LOCKED=1 makes setup take these
# make bench   speed beside peers: a table and build/bench/results.json;  BENCH_ARGS='--only live'
# make soak    what docs/reliability.md promises, tried hundreds of times; goes on where it stopped;
#              SOAK_MINUTES=60 for less, SOAK_ARGS='--only fuzz' for one row
# make figures  which measured figures in the documents are older than the code they measure
# make clean   remove what was built; the virtual environment stays

SHELL := /bin/bash
# OLDEST=1 makes and uses an environment of the oldest versions that the requirements allow.
VENV := $(if $(OLDEST),build/oldest,.venv)
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(or $(ROS_DISTRO),wheels)
# What was installed without LOCKED is installed again with it; what was with it stays.
UNLOCKED := $(if $(LOCKED),$(if $(shell grep -s locked $(READY)),,unlocked))

# A demo uses what it is given, tests and benchmarks also what lies beside the repository.
GIVEN_DATA := $(DATA)
GIVEN_WEIGHTS := $(WEIGHTS)
DATA ?= $(wildcard ../shared/data)
WEIGHTS ?= $(wildcard ../shared/weights)
PEERS ?= $(wildcard ../shared/peers)
DETECTOR ?= faster_rcnn
override TWINS += $(if $(filter none,$(FREEZE)),naive)
OTHER := $(filter-out faster_rcnn,$(DETECTOR))
DEMO_OUT ?= build/demo$(if $(OTHER),_$(OTHER))$(if $(GIVEN_DATA),_data)$(if $(QUICK),_quick)
export DATA := $(abspath $(DATA))
export WEIGHTS := $(abspath $(WEIGHTS))

.PHONY: unlocked setup demo test check oldest lock bench soak figures clean

setup: $(READY)

$(READY): requirements.txt requirements-dev.txt requirements-demo.txt requirements-ros.txt setup.py setup.cfg tools/setup.sh $(UNLOCKED)
	VENV=$(VENV) OLDEST=$(OLDEST) LOCKED=$(LOCKED) tools/setup.sh
	@echo $(if $(LOCKED),locked,latest) > $@

demo: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python demo/run.py --out "$(DEMO_OUT)" \
	  --data "$(GIVEN_DATA)" --weights "$(GIVEN_WEIGHTS)" --video "$(VIDEO)" \
	  --photos "$(PHOTOS)" --detector $(DETECTOR) $(if $(QUICK),--quick) \
	  $(if $(strip $(TWINS)),--twins $(sort $(TWINS))) $(DEMO_ARGS)

# Plugins that a sourced ROS 2 brings along are made for another pytest.
test: setup
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

oldest:
	$(MAKE) test OLDEST=1

lock: setup
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes \
	  --no-header --no-annotate --output-file requirements.lock requirements.txt \
	  requirements-dev.txt requirements-demo.txt requirements-ros.txt

bench: setup
	tools/peers.sh build/peers
	$(BIN)/python bench/run.py --data "$$DATA" --weights "$$WEIGHTS" \
	  --peer "$(PEERS)/plain_pyrender.py" --peers-python build/peers/bin/python $(BENCH_ARGS)

# Without the threads of libraries: equal runs are compared bit by bit.
soak: setup
	OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m soak $(SOAK_ARGS)

figures:
	python3 tools/figures.py

clean:
	rm -rf build install log .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -path ./.venv -prune -o -name __pycache__ -print0 | xargs -0 rm -rf

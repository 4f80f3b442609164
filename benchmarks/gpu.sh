#!/usr/bin/env bash
# All that there is to measure on a machine with a GPU, in under 5 minutes; the last line is JSON.
#
#     benchmarks/gpu.sh ARCHIVE     # of class folders, such as cifar10-jpeg's
#
# It needs neither dvc nor invoke, writes to a temporary folder alone, and leaves params.yaml as it
# is. Where packages are missing and the machine has no network, bring them as wheels; on a machine
# that has one (the same Python and system, here 3.12 on Linux):
#
#     pip download --only-binary=:all: --python-version 3.12 -d wheels pydantic mlxtend pytest hypothesis
#
# and on the machine with the GPU, with the folder copied there:
#
#     pip install --no-index --find-links wheels pydantic mlxtend pytest hypothesis
#
# POWTWO_GPU_DEVICE=cpu tries the script out without a GPU, POWTWO_GPU_EPOCHS=1 shortens trainings.
set -u
if [ $# -ne 1 ]; then
    echo "usage: $0 ARCHIVE" >&2
    exit 2
fi
for python in ${PYTHON:-} python python3; do
    if "$python" -c 'import torch' 2>/dev/null; then
        exec "$python" "$(dirname "$0")/gpu.py" "$1"
    fi
done
echo '{"error": "no Python with torch on PATH; set PYTHON to one"}'
exit 1

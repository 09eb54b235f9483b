#!/usr/bin/env bash
# Make the environment of the heavy benchmark peers: tools/peers.sh FOLDER. Called by `make bench`.
# It sees the packages of .venv and adds what installs of requirements-bench.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1
stamp=$folder/.ready

if [[ $stamp -nt requirements-bench.txt && $stamp -nt .venv/bin/python ]]; then
    exit 0
fi
.venv/bin/python -m venv "$folder"
own=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$own/main.pth"
while read -r requirement _; do
    [[ -z $requirement || $requirement == '#'* ]] && continue
    echo "peers: installing $requirement"
    "$folder/bin/python" -m pip --disable-pip-version-check install --no-input --quiet \
        --progress-bar off "$requirement" ||
        echo "peers: $requirement does not install here; measured without it" >&2
done <requirements-bench.txt
touch "$stamp"

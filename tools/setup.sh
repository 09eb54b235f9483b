#!/usr/bin/env bash
# Make the virtual environment: system libraries, Python packages, this package. Called by
# `make setup`; may be repeated. PYTHON names another interpreter than python3, VENV another folder
# than .venv; OLDEST takes the oldest version of each package that the requirements allow, LOCKED those
# of requirements.lock, compared by their hashes.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
venv=${VENV:-.venv}

say() { echo "setup: $*"; }

has_library() { PATH="$PATH:/sbin:/usr/sbin" ldconfig -p | grep -qF "$1"; }

has_driver() {
    compgen -G '/usr/lib/*/dri/swrast_dri.so' >/dev/null || has_library libEGL_nvidia.so
}

missing_packages() {
    has_library libEGL.so.1 || echo libegl1
    has_library libGL.so.1 || echo libgl1
    has_library libgthread-2.0.so.0 || echo libglib2.0-0
    has_driver || echo libgl1-mesa-dri
    [[ -x $venv/bin/python ]] || "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

install_system_packages() {
    local packages
    mapfile -t packages < <(missing_packages)
    ((${#packages[@]})) || return 0
    if ((EUID == 0)) && command -v apt-get >/dev/null; then
        say "apt-get install ${packages[*]}"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -q
        apt-get install -q -y --no-install-recommends "${packages[@]}"
    else
        say "system packages are missing. Install them and call make again:" >&2
        echo "    sudo apt-get install ${packages[*]}" >&2
        exit 1
    fi
}

# The ROS 2 that is sourced and fits this interpreter, else `wheels`.
ros_source() {
    if [[ -n ${AMENT_PREFIX_PATH:-} && -n ${ROS_DISTRO:-} ]]; then
        "$python" -c 'import rclpy' 2>/dev/null && echo "$ROS_DISTRO" && return
        say "ROS 2 $ROS_DISTRO is sourced, but $python cannot import rclpy; using wheels" >&2
    fi
    echo wheels
}

# One environment serves one ROS 2: mixing two gives symbols that are not found.
make_environment() {
    local ros=$1 options=()
    [[ $ros == wheels ]] || options=(--system-site-packages)
    if [[ -f $venv/.ros && $(<"$venv/.ros") != "$ros" ]]; then
        say "$venv was made for ROS $(<"$venv/.ros"); making it anew for $ros"
        rm -rf "$venv"
    fi
    [[ -x $venv/bin/python ]] || "$python" -m venv "${options[@]}" "$venv"
    echo "$ros" >"$venv/.ros"
}

install_python_packages() {
    local ros=$1 pip
    local requirements=(-r requirements.txt -r requirements-dev.txt -r requirements-demo.txt)
    pip=("$venv/bin/python" -m pip --disable-pip-version-check install --no-input --quiet)
    [[ -t 1 ]] || pip+=(--progress-bar off)
    [[ $ros == wheels ]] && requirements+=(-r requirements-ros.txt)
    say "installing Python packages (the first time some minutes and 6 GB)"
    if [[ -n ${OLDEST:-} ]]; then
        # uv knows how to resolve downwards; what packages need beyond that stays up to date.
        "${pip[@]}" uv
        "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" \
            --resolution lowest-direct "${requirements[@]}"
    elif [[ -n ${LOCKED:-} && $ros == wheels ]]; then
        "${pip[@]}" --require-hashes -r requirements.lock
    else
        "${pip[@]}" "${requirements[@]}"
    fi
    "${pip[@]}" --quiet --no-deps --no-build-isolation --editable .
}

command -v "$python" >/dev/null || {
    say "no $python: install Python 3.10 or later, or set PYTHON" >&2
    exit 1
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    say "$("$python" --version) is too old: wanted 3.10 or later. Set PYTHON." >&2
    exit 1
}
install_system_packages
ros=$(ros_source)
make_environment "$ros"
install_python_packages "$ros"
say "ready: . $venv/bin/activate"

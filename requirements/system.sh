#!/usr/bin/env bash
# What pip cannot bring: a Python with venv and, on Linux, the EGL library with which VTK renders without a screen.
# Installs it with apt when it may (root on Debian or Ubuntu), else names it and stops.
set -euo pipefail
python=${1:-python3}

"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' || {
    echo "Python 3.10 to 3.13 is needed and '$python' is not one: name one with make setup PYTHON=/path/to/python3.12." >&2
    exit 1
}
missing=()
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=("python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv")
if [ "$(uname -s)" = Linux ]; then
    "$python" -c 'import ctypes; ctypes.CDLL("libEGL.so.1")' 2>/dev/null || missing+=(libegl1 libgl1-mesa-dri)
    "$python" -c 'import ctypes; ctypes.CDLL("libX11.so.6")' 2>/dev/null || missing+=(libx11-6)
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "Installing system packages: ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
else
    echo "System packages are missing; install them and run this again (Debian and Ubuntu names): ${missing[*]}" >&2
    exit 1
fi

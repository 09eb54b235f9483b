"""Read by every interpreter that is started with this folder on its path; see `soak.shim`."""

from soak.shim import install_from_environment

install_from_environment()

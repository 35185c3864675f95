# SPDX-License-Identifier: Apache-2.0
"""Only what pyproject.toml cannot say: which cffi builder makes the compiled module."""

from setuptools import setup

setup(cffi_modules=["native/build.py:ffi"])

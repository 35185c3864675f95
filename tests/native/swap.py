# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin that puts another build of the compiled module in the place of the installed one.

TPKT_NATIVE names the file. Loaded by `-p tests.native.swap`, before anything imports the pump.
"""

from __future__ import annotations

import importlib.util
import os
import sys

_PATH = os.environ["TPKT_NATIVE"]
_spec = importlib.util.spec_from_file_location("tpkt._native", _PATH)
if _spec is None or _spec.loader is None:
    raise ImportError(f"{_PATH}: not a compiled module")
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
sys.modules["tpkt._native"] = _module

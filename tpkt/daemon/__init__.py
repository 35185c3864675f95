# SPDX-License-Identifier: Apache-2.0
"""What `eseg` and `tc-client` share in being daemons; knows nothing of frames, links or charon."""

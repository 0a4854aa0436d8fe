import sys
from pathlib import Path

import sitecustomize

assert sys.was_here
assert Path(sitecustomize.__file__).parent.name == "site"
assert not any(path.endswith("startup") for path in sys.path), sys.path

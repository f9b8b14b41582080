"""Run, shrink and fine-tune frontier-size open-weight models in the memory a person has.

Each function is one job; its arguments are the fields of its request, sizes in bytes. docs/python.md is the
manual; __init__.pyi lists what there is, each name imported when it is first used.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Array annotations: ``Float[Tensor, "b n a"]``. Checked by beartype under pytest, plain annotations elsewhere.

`core` and `models` must run on a machine that has torch and little else, so jaxtyping is optional at run time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
else:
    try:
        from jaxtyping import Bool, Float, Int
    except ModuleNotFoundError:

        class _Unchecked:
            def __class_getitem__(cls, item: Any) -> Any:
                return item[0]

        Bool = Float = Int = _Unchecked

__all__ = ["Bool", "Float", "Int"]

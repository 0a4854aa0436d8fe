"""
Types of other libraries that are lazy or huge, by name: what may be told of a value at once.

The ``repr`` of a query set runs the query, that of a frame or a tensor formats or copies data, that
of a lazy object makes it. So they are shown by their type and a few attributes that lie ready. A
subclass is shown like its base, and no library is imported to be known.
"""

from __future__ import annotations

__all__ = ["LARGE"]

_NO_MORE: tuple[str, ...] = ()
_SHAPE, _TYPED = ("shape",), ("shape", "dtype")
# By package and class: lazy or huge, and what of them can be told at once.
LARGE: dict[str, dict[str, tuple[str, ...]]] = {
    "bs4": {"Tag": _NO_MORE},
    "cudf": {"DataFrame": _SHAPE, "Series": _SHAPE},
    "cupy": {"ndarray": _TYPED},
    "dask": dict.fromkeys(("Array", "Bag", "DataFrame", "FrameBase", "Series", "_Frame"), _NO_MORE),
    "datasets": dict.fromkeys(("Dataset", "DatasetDict", "IterableDataset"), _NO_MORE),
    "django": dict.fromkeys(
        ("BaseManager", "LazyObject", "Manager", "Model", "Promise", "QuerySet", "RawQuerySet"),
        _NO_MORE,
    ),
    "duckdb": {"DuckDBPyRelation": _NO_MORE},
    "_duckdb": {"DuckDBPyRelation": _NO_MORE},
    "h5py": {"Dataset": _TYPED},
    "ibis": {"Expr": _NO_MORE},
    "jax": {"Array": _TYPED, "ArrayImpl": _TYPED, "Tracer": _TYPED},
    "jaxlib": {"Array": _TYPED, "ArrayImpl": _TYPED},
    "keras": {"Layer": _NO_MORE, "Variable": _TYPED},
    "mongoengine": {"BaseQuerySet": _NO_MORE},
    "numpy": {"ndarray": _TYPED},
    "pandas": {
        "BaseGroupBy": _NO_MORE,
        "ExtensionArray": _SHAPE,
        "Index": _SHAPE,
        "DataFrame": _SHAPE,
        "NDFrame": _SHAPE,
        "Series": _SHAPE,
        "Styler": _NO_MORE,
    },
    "peewee": {"BaseQuery": _NO_MORE, "ModelSelect": _NO_MORE},
    "PIL": {"Image": ("mode", "size")},
    "polars": {"DataFrame": _SHAPE, "LazyFrame": _NO_MORE, "Series": _TYPED},
    "pony": {"Query": _NO_MORE},
    "pyarrow": {
        "Array": _NO_MORE,
        "ChunkedArray": _NO_MORE,
        "RecordBatch": _SHAPE,
        "Table": _SHAPE,
    },
    "pyspark": {"Column": _NO_MORE, "DataFrame": _NO_MORE, "RDD": _NO_MORE},
    "scipy": {"_spbase": _TYPED, "sparray": _TYPED, "spmatrix": _TYPED},
    "sqlalchemy": {
        "AppenderMixin": _NO_MORE,
        "AppenderQuery": _NO_MORE,
        "AsyncResult": _NO_MORE,
        "Query": _NO_MORE,
        "Result": _NO_MORE,
        "ResultInternal": _NO_MORE,
        "ScalarResult": _NO_MORE,
    },
    "tensorflow": {
        "BaseResourceVariable": _TYPED,
        "DatasetV2": _NO_MORE,
        "RaggedTensor": _NO_MORE,
        "SparseTensor": _NO_MORE,
        "Tensor": _TYPED,
        "Variable": _TYPED,
    },
    "torch": {"Module": _NO_MORE, "Tensor": _TYPED},
    "tortoise": {"AwaitableQuery": _NO_MORE, "QuerySet": _NO_MORE},
    "xarray": dict.fromkeys(("DataArray", "Dataset", "Variable"), _NO_MORE),
    "zarr": {"Array": _TYPED},
}

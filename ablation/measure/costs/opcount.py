"""The table from an operation of torch to its class and its multiply-accumulates, in the manner of fvcore's flop count.

An operation is what reaches torch's dispatcher after composite functions are taken apart (`linear` arrives as `addmm`); its
name is namespace and packet, e.g. "aten.convolution". In-place forms share the entry of their plain form ("aten.relu_" is
"aten.relu"). One multiply-accumulate is one multiplication with its addition; biases, norms, activations and interpolation
have none here. A fused operation has those of the matrix products within it; attention all of them, whatever a mask hides.
Views are known by their signature and need no entry. Whatever is neither in the table nor a view is an InputError:
`register_op` adds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor

from blocks.errors import InputError, choices, must_be

# what an operation is, in the words of the tables; "unused" holds parameters that no operation reads
CLASSES = (
    # full or grouped, transposed or not, unless one of the next two
    "convolution",
    # as many groups as input channels, and more than one
    "depthwise convolution",
    # kernel of size 1, one group
    "pointwise convolution",
    # matrix products of any kind, those of attention and of recurrent layers too
    "linear",
    "normalisation",
    # functions that networks use as non-linearities; softmax too
    "activation",
    "concatenation",
    # max and mean over windows or over all positions, and space to depth
    "pooling",
    # nearest, bilinear, bicubic, sampling at a grid, and depth to space
    "upsampling",
    "elementwise",
    "reduction",
    "random",
    # clones, dtype changes, padding, indexing, filling, windows side by side and back
    "copy",
    "unused",
)

Args = Sequence[Any]
Macs = Callable[[Args, Any], int]
Classify = Callable[[Args], str]


class UnknownOperationError(InputError):
    """An operation that the table does not have."""


def no_macs(args: Args, out: Any) -> int:
    """Formula of every operation that multiplies no matrices."""
    return 0


@dataclass(frozen=True)
class Formula:
    """How one operation is counted."""

    classify: Classify
    macs: Macs = no_macs
    # whether the first argument is written without being read (copy_, fill_, ...)
    overwrites: bool = False


def convolution_macs(args: Args, out: Tensor) -> int:
    """N x (weights of one position) x positions: of the output, or of the input where transposed. Padding counts as input."""
    x, weight, transposed = args[0], args[1], args[6]
    # weight: out x in/groups x k x k, or in x out/groups x k x k where transposed
    return int(x.shape[0]) * prod(weight.shape) * prod((x if transposed else out).shape[2:])


def convolution_class(args: Args) -> str:
    """Which of the three classes of convolution this one is."""
    x, weight, groups = args[0], args[1], args[8]
    if groups > 1 and groups == x.shape[1]:
        return "depthwise convolution"
    return "pointwise convolution" if groups == 1 and prod(weight.shape[2:]) == 1 else "convolution"


def _product_macs(first: int) -> Macs:
    # operands at positions `first` (... x k) and `first` + 1; each output element sums over k products
    return lambda args, out: int(out.numel()) * int(args[first].shape[-1])


def _summed_product_macs(args: Args, out: Tensor) -> int:
    # b x n x k times b x k x m, summed over b
    return prod(args[1].shape) * int(out.shape[-1])


def _grid_macs(args: Args, out: Tensor) -> int:
    # every position of a grid, with a 1 behind it, times theta: N x d x (d + 1)
    return int(out.numel()) * int(args[0].shape[-1])


def _deformed_macs(args: Args, out: Tensor) -> int:
    # as a convolution: each output element sums over the weights of its channel
    return int(out.numel()) * prod(args[1].shape[1:])


def _euclidean_macs(args: Args, out: Tensor) -> int:
    # |x|^2 - 2 x y + |y|^2 of all pairs as one product over k + 2 columns
    return int(out.numel()) * (int(args[0].shape[-1]) + 2)


def _distance_macs(args: Args, out: Tensor) -> int:
    # a square for each coordinate of each pair; other powers than 2 are no multiplications
    return int(out.numel() * args[0].shape[-1]) if args[2] == 2 else 0


def attention_macs(args: Args, out: Any) -> int:
    """Queries ... x L x E, keys ... x S x E, values ... x S x V: L S E products for the scores, L S V for their sums of values."""
    query, key = args[0], args[1]
    return int(key.shape[-2]) * int(query.numel() + out[0].numel())


def _projected_attention_macs(args: Args, out: Any) -> int:
    # query N x L x E, key and value N x S x E; four projections E x E around the attention
    (num, length, width), keys = args[0].shape, args[1].shape[1]
    return int(num * width * (2 * width * (length + keys) + 2 * length * keys))


def _encoder_layer_macs(args: Args, out: Any) -> int:
    # attention of a sequence to itself, then two linear layers at each position
    num, length, _ = args[0].shape
    return _projected_attention_macs((args[0], args[0]), out) + int(num * length) * (prod(args[14].shape) + prod(args[16].shape))


def _recurrent_macs(args: Args, out: Any) -> int:
    # at every step the input and the state, each times its weights
    return prod(args[0].shape[:-1]) * (prod(args[1].shape) + prod(args[2].shape))


def _mean_class(args: Args) -> str:
    # the mean over height and width of a feature map is what adaptive pooling to 1 x 1 becomes
    dims = sorted(d % args[0].dim() for d in (args[1] or ())) if len(args) > 1 else []
    return "pooling" if args[0].dim() == 4 and dims == [2, 3] else "reduction"


def always(op_class: str) -> Classify:
    """The classifier that gives the same class whatever the arguments."""
    return lambda args: op_class


# written as the names of torch, several to a class
_PLAIN = {
    "normalisation": "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_with_update "
    "_batch_norm_no_update cudnn_batch_norm native_group_norm native_layer_norm _fused_rms_norm _weight_norm_interface renorm",
    "activation": "relu elu gelu silu leaky_relu sigmoid tanh softplus hardtanh hardswish hardsigmoid mish _prelu_kernel celu "
    "threshold hardshrink softshrink glu rrelu_with_noise log_sigmoid_forward _softmax _log_softmax "
    "_safe_softmax",
    "concatenation": "cat stack",
    "pooling": "max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d pixel_unshuffle avg_pool3d "
    "max_pool3d_with_indices _adaptive_avg_pool3d adaptive_max_pool3d fractional_max_pool2d fractional_max_pool3d",
    "upsampling": "upsample_nearest2d _upsample_nearest_exact2d upsample_bilinear2d _upsample_bilinear2d_aa upsample_bicubic2d "
    "_upsample_bicubic2d_aa pixel_shuffle upsample_nearest1d _upsample_nearest_exact1d upsample_nearest3d "
    "_upsample_nearest_exact3d upsample_linear1d upsample_trilinear3d max_unpool2d max_unpool3d grid_sampler_2d grid_sampler_3d "
    "cudnn_grid_sampler",
    "elementwise": "add sub rsub mul div exp expm1 log log1p log2 sqrt rsqrt pow square neg abs sign reciprocal clamp clamp_min "
    "clamp_max maximum minimum where addcmul addcdiv lerp erf sin cos tan atan floor ceil round trunc remainder floor_divide eq "
    "ne lt le gt ge logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_not masked_fill "
    "isnan isinf asin acos sinh cosh asinh acosh atanh atan2 sinc exp2 log10 logit logaddexp xlogy erfc erfinv hypot fmod frac sgn "
    "copysign heaviside nan_to_num clip bucketize searchsorted",
    "reduction": "sum amax amin aminmax max min var var_mean std std_mean prod any all linalg_vector_norm argmax argmin cumsum "
    "norm cumprod cummax cummin logsumexp logcumsumexp nansum count_nonzero topk sort median kthvalue _unique _unique2 unique_dim "
    "unique_consecutive bincount histc _embedding_bag _embedding_bag_forward_only",
    "random": "randn rand randn_like rand_like randint randperm bernoulli native_dropout",
    "copy": "clone contiguous _to_copy constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d "
    "replication_pad2d replication_pad3d im2col col2im scatter_add scatter_reduce index_add index_copy index_fill select_scatter "
    "slice_scatter take nonzero masked_select masked_scatter flip roll repeat index index_select "
    "gather scatter index_put embedding channel_shuffle tril triu zeros ones full zeros_like ones_like full_like new_zeros "
    "new_ones new_full arange linspace scalar_tensor eye",
}
# matrix products: formula -> names
_LINEAR = {
    _product_macs(0): "linear mm bmm mv dot vdot",
    _product_macs(1): "addmm baddbmm addmv _addmm_activation",
    _summed_product_macs: "addbmm",
    _grid_macs: "affine_grid_generator",
    _euclidean_macs: "_euclidean_dist",
    attention_macs: "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable",
    _projected_attention_macs: "_native_multi_head_attention",
    _encoder_layer_macs: "_transformer_encoder_layer_fwd",
    _recurrent_macs: "mkldnn_rnn_layer",
}
_OVERWRITES = {"random": "normal uniform bernoulli_ exponential", "copy": "copy fill zero"}

_TABLE: dict[str, Formula] = {
    "aten.convolution": Formula(convolution_class, convolution_macs),
    # regions of interest are pooled; of boxes that overlap one is kept
    **{f"torchvision.{name}": Formula(always("pooling")) for name in ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")},
    "torchvision.nms": Formula(always("reduction")),
    "torchvision.deform_conv2d": Formula(always("convolution"), _deformed_macs),
    "aten._cdist_forward": Formula(always("reduction"), _distance_macs),
    **{f"aten.{name}": Formula(always("linear"), macs) for macs, names in _LINEAR.items() for name in names.split()},
    "aten.mean": Formula(_mean_class),
    **{f"aten.{name}": Formula(always(kind)) for kind, names in _PLAIN.items() for name in names.split()},
    **{f"aten.{name}": Formula(always(kind), overwrites=True) for kind, names in _OVERWRITES.items() for name in names.split()},
}

# no operation: memory that nothing writes yet, views that their signature doesn't show, changes of shape in place, a number read
_FREE_NAMES = (
    "empty empty_like empty_strided empty_permuted new_empty new_empty_strided _unsafe_view lift_fresh unsqueeze_ squeeze_ t_ "
    "transpose_ as_strided_ detach_ resize_ unsafe_split unsafe_split_with_sizes unsafe_chunk _fused_sdp_choice "
    "sym_size sym_stride sym_numel sym_storage_offset is_contiguous is_same_size _local_scalar_dense"
)
_FREE = {f"aten.{name}" for name in _FREE_NAMES.split()}


def register_op(name: str, op_class: str, macs: Macs | None = None) -> None:
    """Add the formula of an operation, e.g. `register_op("mylib.swirl", "elementwise")`; `macs(args, out)` where it has some.

    A name that the table has is an InputError, as is a class that is not one of CLASSES.
    """
    if name in _TABLE or name in _FREE:
        raise InputError(f"The operation {name!r} has a formula already. Only operations that have none can be registered.")
    if name.count(".") != 1:
        raise must_be("The name of an operation", "namespace.packet, e.g. 'aten.relu'", name)
    if op_class not in CLASSES:
        raise must_be("op_class", choices(CLASSES), op_class)
    _TABLE[name] = Formula(always(op_class), macs or no_macs)


def formula(func: Any) -> Formula | None:
    """The formula of an overload, or None where it is no operation (a view, uninitialised memory); InputError if unknown."""
    name = f"{func.namespace}.{func.overloadpacket.__name__}"
    entry = _TABLE.get(name) or _TABLE.get(name.removesuffix("_"))
    if entry is not None:
        return entry
    if name in _FREE or func.namespace == "prim" or is_view(func):
        return None
    raise UnknownOperationError(
        f"Every operation must have a formula. Got {name!r}, which has none. "
        f"Add it with ablation.measure.costs.opcount.register_op({name!r}, op_class, macs)."
    )


def is_view(func: Any) -> bool:
    """Whether every result shares memory with an argument and nothing is written, by the operation's signature."""
    returns = func._schema.returns
    return bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)

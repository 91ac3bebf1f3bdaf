"""Whole libraries of networks counted, against torch's own FlopCounterMode, which counts products of matrices twice over."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ablation.design.callable_spec import CallableSpec
from ablation.design.inputs import Input
from ablation.measure.costs.static import static_cost

MODELS = torchvision.models
# timm's families, one network of each
TIMM = (
    "resnet50 vit_base_patch16_224 convnext_tiny efficientnet_b0 mobilenetv3_large_100 swin_tiny_patch4_window7_224 "
    "deit_small_patch16_224 regnety_016 densenet121 resnext50_32x4d seresnet50 mobilenetv2_100 vgg16 inception_v4 mixer_b16_224 "
    "resnetv2_50 beit_base_patch16_224 cspresnet50 levit_128 mobilevit_s nfnet_f0 poolformer_s12 "
    "pvt_v2_b0 repvgg_a0 tf_efficientnetv2_s ghostnet_100 res2net50_26w_4s xcit_nano_12_p8_224 convnextv2_tiny "
    "mobilenetv4_conv_small"
)
# small images keep their heads, which look at values, quick
DETECTION = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": {"min_size": 64, "max_size": 64},
    "fcos_resnet50_fpn": {"min_size": 64, "max_size": 64},
    "retinanet_resnet50_fpn_v2": {"min_size": 64, "max_size": 64},
    "maskrcnn_resnet50_fpn": {"min_size": 32, "max_size": 32, "box_detections_per_img": 2, "box_score_thresh": 0.0},
    "ssdlite320_mobilenet_v3_large": {},
}


def counted_alike(spec: CallableSpec) -> None:
    """Parameters exact, and twice the multiply-accumulates what torch counts, from shapes alone."""
    cost, model = static_cost(spec), spec.build_without_weights().eval()
    assert not cost.executed
    assert cost.params == sum(p.numel() for p in model.parameters())
    with FlopCounterMode(display=False) as counter:
        model.to("meta")(torch.empty(1, *spec.input_shape, device="meta"))
    assert 2 * cost.macs == counter.get_total_flops()


@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")
@pytest.mark.parametrize("name", MODELS.list_models(module=MODELS))
def test_classification_models(name: str) -> None:
    size = 299 if name == "inception_v3" else 224
    counted_alike(CallableSpec(path=f"torchvision.models:{name}", inputs=(Input((3, size, size)),)))


@pytest.mark.parametrize("name", MODELS.list_models(module=MODELS.segmentation))
def test_segmentation_models(name: str) -> None:
    arguments = {"weights": None, "weights_backbone": None}
    path = f"torchvision.models.segmentation:{name}"
    counted_alike(CallableSpec(path=path, arguments=arguments, inputs=(Input((3, 64, 64)),)))


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18", "swin3d_t", "s3d", "mvit_v2_s"])
def test_video_models(name: str) -> None:
    shape = (3, 16, 224, 224) if name in ("s3d", "mvit_v2_s") else (3, 8, 56, 56)
    counted_alike(CallableSpec(path=f"torchvision.models.video:{name}", inputs=(Input(shape),)))


@pytest.mark.parametrize("name", DETECTION)
def test_detection_models_are_counted_by_a_run(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS.get_model(name, weights=None, weights_backbone=None, **DETECTION[name]).eval()
    cost = static_cost(model, input_shape=(3, 64, 64))
    assert cost.executed
    assert cost.params == sum(p.numel() for p in model.parameters())
    torch.manual_seed(0)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.rand(1, 3, 64, 64))
    assert 2 * cost.macs == counter.get_total_flops()
    assert cost.by_class["pooling" if "rcnn" in name else "reduction"].num_ops


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", TIMM.split())
def test_timm_models(name: str) -> None:
    import timm  # here: it takes a second to import

    size = timm.get_pretrained_cfg(name).input_size
    counted_alike(CallableSpec(path="timm:create_model", arguments={"model_name": name}, inputs=(Input(size),)))


def test_deformable_convolutions_multiply_as_plain_ones() -> None:
    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.offset = nn.Conv2d(4, 18, 3, padding=1)
            self.conv = torchvision.ops.DeformConv2d(4, 6, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x, self.offset(x))

    cost = static_cost(Deformed(), input_shape=(4, 5, 7))
    assert cost.macs == 5 * 7 * 9 * 4 * (18 + 6)

"""Every form of a change is, to 1e-5, what the library that invented it makes of the same file."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import BOFTConfig, LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, get_peft_model
from safetensors.torch import save_file

from shared.loras.check import check_file
from worker.engine.lora.changes import Change
from worker.engine.lora.lora_file import read_adapter

lycoris = pytest.importorskip("lycoris")

LINEAR, CONV, NORM = "mid_block.attentions.0.proj_in", "mid_block.resnets.0.conv1", "conv_norm_out"
EXACT = {"atol": 1e-5, "rtol": 1e-5}


class Network(torch.nn.Module):
    """A linear layer, a convolution and a norm under the names that a UNet has for such."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mid_block = torch.nn.Module()
        self.mid_block.attentions = torch.nn.ModuleList([torch.nn.Module()])
        self.mid_block.attentions[0].proj_in = torch.nn.Linear(24, 32)
        self.mid_block.resnets = torch.nn.ModuleList([torch.nn.Module()])
        self.mid_block.resnets[0].conv1 = torch.nn.Conv2d(24, 32, 3, padding=1)
        self.conv_norm_out = torch.nn.GroupNorm(4, 32)


def changes(tensors: dict[str, torch.Tensor], folder: Path, **metadata: str) -> dict[str, Change]:
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, folder / "some.safetensors", metadata)
    entry = check_file(folder / "some.safetensors")
    return dict(read_adapter(SimpleNamespace(unet=Network()), entry).parts["unet"])


def randomised(module: torch.nn.Module) -> None:
    torch.manual_seed(1)
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * 0.2


def by_lycoris(kind: str, layer: str, **options: Any) -> tuple[dict[str, torch.Tensor], Any]:
    """A module's file, and what the layer makes of some input while LyCORIS trains it."""
    modules: dict[str, Callable[..., Any]] = {
        "locon": lycoris.modules.locon.LoConModule,
        "loha": lycoris.modules.loha.LohaModule,
        "lokr": lycoris.modules.lokr.LokrModule,
        "glora": lycoris.modules.glora.GLoRAModule,
        "oft": lycoris.modules.diag_oft.DiagOFTModule,
        "boft": lycoris.modules.boft.ButterflyOFTModule,
    }
    original = Network().get_submodule(layer)
    module = modules[kind]("some", original, **options)
    randomised(module)
    state = module.custom_state_dict() if hasattr(module, "custom_state_dict") else None
    state = state or module.state_dict()
    name = f"lora_unet_{layer.replace('.', '_')}"
    module.eval().apply_to()
    return {f"{name}.{k}": v for k, v in state.items()}, original(some_input(layer))


def some_input(layer: str) -> torch.Tensor:
    torch.manual_seed(2)
    return torch.randn(3, 24) if layer == LINEAR else torch.randn(1, 24, 5, 5)


LYCORIS = {
    "locon": ("locon", {"lora_dim": 4, "alpha": 3}),
    "locon, rank-stabilised": ("locon", {"lora_dim": 4, "alpha": 3, "rs_lora": True}),
    "cp": ("locon", {"lora_dim": 4, "alpha": 3, "use_tucker": True}),
    "dora": ("locon", {"lora_dim": 4, "alpha": 3, "weight_decompose": True}),
    "dora by input": (
        "locon",
        {"lora_dim": 4, "alpha": 3, "weight_decompose": True, "wd_on_out": False},
    ),
    "loha": ("loha", {"lora_dim": 4, "alpha": 2}),
    "loha, cp": ("loha", {"lora_dim": 4, "alpha": 2, "use_tucker": True}),
    "loha and dora": ("loha", {"lora_dim": 4, "alpha": 2, "weight_decompose": True}),
    "lokr": ("lokr", {"lora_dim": 2, "alpha": 1, "factor": 4}),
    "lokr, both low": ("lokr", {"lora_dim": 1, "alpha": 3, "decompose_both": True}),
    "lokr, whole": ("lokr", {"lora_dim": 100000, "alpha": 3, "full_matrix": True}),
    "lokr, cp": ("lokr", {"lora_dim": 2, "alpha": 1, "factor": 4, "use_tucker": True}),
    "glora": ("glora", {"lora_dim": 4, "alpha": 2}),
    "oft": ("oft", {"lora_dim": 4}),
    "oft, constrained and rescaled": ("oft", {"lora_dim": 4, "constraint": 0.01, "rescaled": True}),
    "boft": ("boft", {"lora_dim": 8}),
    "boft, rescaled": ("boft", {"lora_dim": 8, "rescaled": True}),
}


@pytest.mark.parametrize("layer", [LINEAR, CONV])
@pytest.mark.parametrize("case", LYCORIS)
@torch.no_grad()
def test_a_form_of_lycoris_is_what_lycoris_trains(case: str, layer: str, tmp_path: Path) -> None:
    kind, options = LYCORIS[case]
    tensors, expected = by_lycoris(kind, layer, **options)

    changed = Network().get_submodule(layer)
    weight = changed.get_parameter("weight")
    delta = changes(tensors, tmp_path)[layer].delta(weight)
    weight.data += delta

    torch.testing.assert_close(changed(some_input(layer)), expected, **EXACT)
    assert delta.abs().max() > 0.005


PEFT = {
    "lora": LoraConfig(r=4, lora_alpha=6, target_modules=["proj_in", "conv1"]),
    "rank-stabilised": LoraConfig(
        r=4, lora_alpha=6, use_rslora=True, target_modules=["proj_in", "conv1"]
    ),
    "patterns": LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=["proj_in", "conv1"],
        rank_pattern={"conv1": 2},
        alpha_pattern={"attentions.0.proj_in": 1},
    ),
    "dora": LoraConfig(r=4, lora_alpha=6, use_dora=True, target_modules=["proj_in", "conv1"]),
    "with a bias": LoraConfig(r=4, lora_alpha=6, lora_bias=True, target_modules=["proj_in"]),
    "loha": LoHaConfig(r=4, alpha=6, target_modules=["proj_in", "conv1"]),
    "lokr": LoKrConfig(r=2, alpha=6, target_modules=["proj_in", "conv1"]),
    "oft": OFTConfig(oft_block_size=4, target_modules=["proj_in", "conv1"]),
    "oft, exact": OFTConfig(
        oft_block_size=4, use_cayley_neumann=False, target_modules=["proj_in", "conv1"]
    ),
}


@pytest.mark.filterwarnings("ignore:Adapter 'default'. 1 LoRA tensor")
@pytest.mark.parametrize("case", PEFT)
@torch.no_grad()
def test_an_adapter_folder_of_peft_is_what_peft_merges(case: str, tmp_path: Path) -> None:
    model = get_peft_model(Network(), PEFT[case])
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "magnitude" not in name:
            parameter.data = torch.randn_like(parameter) * 0.1
    model.save_pretrained(tmp_path)
    merged = model.merge_and_unload()

    entry = check_file(tmp_path / "adapter_model.safetensors")
    found = read_adapter(SimpleNamespace(unet=Network()), entry).parts["unet"]

    base = dict(Network().named_parameters())
    assert found
    for layer, change in found.items():
        name = layer if layer.endswith(".bias") else f"{layer}.weight"
        expected = merged.get_parameter(name) - base[name]
        torch.testing.assert_close(change.delta(base[name]), expected, **EXACT)
        assert expected.abs().max() > 0.005


@pytest.mark.filterwarnings("ignore:Failed to load the CUDA extension")
@pytest.mark.filterwarnings("ignore:Setting boft_n_butterfly_factor")
def test_butterflies_of_peft_are_named_since_nobody_reads_them(tmp_path: Path) -> None:
    config = BOFTConfig(boft_block_size=4, target_modules=["proj_in"])
    get_peft_model(Network(), config).save_pretrained(tmp_path)

    entry = check_file(tmp_path / "adapter_model.safetensors")

    assert entry.reason_code == "foreign_tensors"
    assert any("boft_R" in name for name in entry.unplaced)


NORMS = {
    "lora_unet_conv_norm_out.w_norm": torch.full((32,), 0.5),
    "lora_unet_conv_norm_out.b_norm": torch.full((32,), 0.25),
    "lora_unet_mid_block_attentions_0_proj_in.diff": torch.ones(32, 24),
    "lora_unet_mid_block_attentions_0_proj_in.diff_b": torch.full((32,), 2.0),
}


def test_norms_biases_and_whole_differences_are_added_as_they_are(tmp_path: Path) -> None:
    found = changes(NORMS, tmp_path)

    network = Network()
    for name, change in found.items():
        stored = network.get_parameter(name if name.endswith(".bias") else f"{name}.weight")
        delta = change.delta(stored)
        assert delta.shape == stored.shape
        assert delta.unique().numel() == 1
    assert set(found) == {"conv_norm_out", "conv_norm_out.bias", LINEAR, f"{LINEAR}.bias"}
    assert float(found[f"{LINEAR}.bias"].delta(network.get_parameter(f"{LINEAR}.bias"))[0]) == 2.0


STEM = "lora_unet_mid_block_attentions_0_proj_in"
ALPHAS = {
    "whole number": torch.tensor(2),
    "double": torch.tensor(2.0, dtype=torch.float64),
    "half": torch.tensor(2.0, dtype=torch.float16),
    "a list of one": torch.tensor([2.0]),
    "a matrix of one": torch.tensor([[2.0]]),
    "bfloat16": torch.tensor(2.0, dtype=torch.bfloat16),
    "a byte": torch.tensor(2, dtype=torch.uint8),
}


@pytest.mark.parametrize("alpha", ALPHAS.values(), ids=ALPHAS.keys())
@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2],
)
def test_an_alpha_of_any_type_scales_factors_of_any_type(
    alpha: torch.Tensor, dtype: torch.dtype, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    down, up = torch.randn(4, 24).to(dtype), torch.randn(32, 4).to(dtype)
    tensors = {f"{STEM}.lora_down.weight": down, f"{STEM}.lora_up.weight": up}

    found = changes({**tensors, f"{STEM}.alpha": alpha}, tmp_path)[LINEAR]

    expected = up.float() @ down.float() * 0.5
    torch.testing.assert_close(found.delta(Network().get_parameter(f"{LINEAR}.weight")), expected)

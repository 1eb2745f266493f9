"""The dictionary of version 8: what every manifest says, so that a file pays only for what is its own.

Raw content in zstd's terms (RFC 8878, 5). It is frozen: another byte would make every artifact unreadable, so a new
one comes with a new format version. Tests hold its SHA-256.
"""

from __future__ import annotations

from functools import cache

_LAYERS = 16
_MATRICES = (
    "attention.query.weight",
    "attention.key.weight",
    "attention.value.weight",
    "attention.output.weight",
    "mlp.up.weight",
    "mlp.down.weight",
)
_VECTORS = ("mix_stream", "mix_embedding", "attention_scale", "mlp_scale", "skip_scale")
_MODEL = (
    '{"embedding_std":0.005,"exclusive_layers":0,"heads":8,"kv_heads":4,"layers":9,"logit_softcap":30.0,'
    '"mlp_activation":"leaky_relu2","mlp_activation":"relu2","mlp_ratio":2.0,"output_scales":false,'
    '"parallel_from":null,"query_gain":1.5,"recur_layers":null,"recur_times":2,"residual_mix":false,'
    '"rope_base":10000.0,"rotary_fraction":1.0,"skips":false,"smear":true,"width":512}'
)
_HEAD = (
    '{"budget":{"cap":16000000,"code_bytes":0},"claim":{"bpb":1.8,"bytes":80397,"device":"cuda","device":"cpu",'
    '"dtype":"bfloat16","dtype":"float32","float_bpb":1.8,"float_val_loss":3.1,"text_sha256":"66fa164ea73febdf797abde2'
    'fd5c63f1faf642aa86b271d438b437ddfd6338e4","tokens":32768,"tolerance":0.0005,"val_loss":3.1},"content_sha256":"",'
    '"golf":"0.1.0","model":'
)
_RECIPE = (
    ',"recipe":{"budget":{"cap":16000000,"clock":"calibration","clock":"training","code_bytes":0},"data":{"path":"",'
    '"source":"shards","source":"text","source":"stdlib","text_field":"text","val_fraction":0.04},"model":'
)
_SECTIONS = (
    ',"name":"quickstart","optimizer":{"betas":[0.9,0.95],"embedding_lr":0.04,"eps":1e-10,"lr":0.02,"matmul_dtype":'
    '"auto","momentum":0.95,"momentum_warmup":0.0,"name":"adamw","name":"muon","name":"numuon","nesterov":true,'
    '"rank":{"end":0.5,"finish":0.8,"hold":0.1,"kind":"cosine","kind":"fixed","kind":"piecewise","start":1.0},'
    '"rate_penalty":{"codes":"each","finish":1.0,"kind":"l1","kind":"none","start":0.0,"strength":0.005},'
    '"scalar_lr":0.01,"spectral_decay":0.0,"weight_decay":0.1},"pack":{"calibration_tokens":32768,"coder":"best",'
    '"damping":0.01,"low_rank":"off","low_rank":"auto","quantizer":"uniform","quantizer":"auto","row_smoothing":0.2,'
    '"target_gap":0.0005,"tune_batch_tokens":2048,"tune_text":0.5,"tune_tokens":262144},"seed":1,"tokenizer":{"kind":'
    '"bytes","kind":"sentencepiece","vocab_size":1024},"train":{"batch_tokens":2048,"checkpoint_every":50,"clip":1.0,'
    '"compile":false,"cooldown":0.4,"ema":0.0,"eval_every":200,"eval_tokens":16384,"log_every":10,'
    '"micro_batch_tokens":32768,"min_lr":0.01,"sequence_length":128,"steps":600,"warmup":0.05},"verify":{'
    '"loss_tolerance":0.0005,"tokens":32768}},"sections":{"codec":["raw","zstd","bpe","zstd","adaptive","zstd"'
)
_TAIL = (
    ']},"tokenizer":{"kind":"sentencepiece","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"'
    ',"vocab_size":1024},"versions":{"constriction":"0.5.0","numpy":"2.4.6","sentencepiece":"0.2.3","torch":"2.13.0",'
    '"torch":"2.13.0+cpu","zstandard":"0.25.0"}}'
)


@cache
def manifest_dictionary() -> bytes:
    """The dictionary: a manifest of 16 layers in its canonical spelling, with more than one value of some keys."""
    blocks = [f"blocks.{layer}" for layer in range(_LAYERS)]
    sections = "".join(
        f'"{name}/residual",'
        for name in ["embedding.weight", *(f"{block}.{matrix}" for block in blocks for matrix in _MATRICES)]
    )
    vectors = "".join(f'"{block}.{name}",' for block in blocks[:2] for name in _VECTORS)
    tensors = "".join(
        ",".join(f'"{block}.{name}"' for name in ("attention.query_gain", *_MATRICES)) + "," for block in blocks
    )
    parts = (
        '/left","/right","ans",',
        vectors,
        '"parameters":{"factor_step":[null,"states":[null,null,8,8,8,8,null',
        _HEAD,
        _MODEL,
        _RECIPE,
        _MODEL,
        _SECTIONS,
        ',"conditional"' * 2 * len(_MATRICES),
        '],"decoded_size":[15355,544,62464,873,524288',
        ",65536,32768,32768,65536,131072,131072" * 2,
        '],"length":[1386,336,3788,677,48400,5220,3300,3552,5112,10012',
        '],"name":["tokenizer","small","scales","tables",',
        sections,
        ']},"tensors":{"kind":["small","matrix"',
        (',"small"' + ',"matrix"' * len(_MATRICES)) * 2,
        '],"name":["smear_gate","embedding.weight",',
        tensors,
        '],"parameters":{"spread":[null',
        ",30,null" + ",8,9,10,11,null" * 2,
        '],"step":[null,0.0015,null,0.032,0.027,0.02,0.021,0.014,0.01,null',
        ']},"rank":[0',
        ",0" * 6 * len(_MATRICES),
        '],"shape":[[128],[1024,128],[2]',
        ",[128,128],[64,128],[64,128],[128,128],[256,128],[128,256],[2]" * 2,
        _TAIL,
    )
    return "".join(parts).encode()

"""Compiled networks and CUDA graphs of a voice. Each falls back to plain by itself, with a note."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from server.engines.speech.voice_worker.streaming import Floats, StreamOptions

Note = Callable[[str], None]


def quick_decoder(
    decoder: Any, options: StreamOptions, groups: int, note: Note
) -> Callable[[Any], Floats]:
    """Return the decoder as it was asked for, or plain with a note.

    Compiled and as a graph it gets windows of one size, filled up behind the last frame: it looks
    back only, so that changes nothing before. One that fails later runs plain from then on.
    """
    import torch

    def plain(codes: Any) -> Floats:
        with torch.inference_mode():
            sound: Floats = decoder(codes)[0, 0].float().cpu().numpy()
        return sound

    if not options.quick_decoder:
        return plain
    if options.use_cuda_graphs and not torch.cuda.is_available():
        note("use_cuda_graphs is off: torch finds no GPU here.")
        if not options.use_compile:
            return plain
    size = options.decode_window_frames
    upsample = int(decoder.total_upsample)
    run: Any = decoder
    try:
        device = next(decoder.parameters()).device
        empty = torch.zeros((1, groups, size), dtype=torch.long, device=device)
        if options.use_compile:
            run = torch.compile(decoder, mode=options.compile_mode, dynamic=False)
        if options.use_cuda_graphs and torch.cuda.is_available():
            run = _graph(run, empty)
        with torch.inference_mode():
            run(empty)
    except Exception as error:  # noqa: BLE001
        # Compilers fail in any way; the voice works without them.
        note(_fallen("decoder", error))
        return plain

    def filled(codes: Any) -> Floats:
        nonlocal run
        if run is None:
            return plain(codes)
        count = codes.shape[-1]
        window = empty.clone()
        window[..., :count] = codes
        try:
            with torch.inference_mode():
                sound: Floats = run(window)[0, 0, : count * upsample].float().cpu().numpy()
        except Exception as error:  # noqa: BLE001
            run = None
            note(_fallen("decoder", error))
            return plain(codes)
        return sound

    return filled


def compile_predictor(talker: Any, note: Note) -> None:
    """Compile the network that makes the further codes of a frame, or leave it plain with a note.

    Without CUDA graphs, whatever `compile_mode` says: it keeps what it made for its next step, which a
    graph would write over. Where it fails in a text, that text is lost, and the next one is spoken plain.
    """
    import torch

    predictor = talker.code_predictor
    network, plain = predictor.model, predictor.model.forward

    def run(*arguments: Any, **named: Any) -> Any:
        try:
            return compiled(*arguments, **named)
        except Exception as error:
            network.forward = plain
            note(_fallen("codebook predictor", error))
            raise

    try:
        compiled = torch.compile(plain)
    except Exception as error:  # noqa: BLE001
        note(_fallen("codebook predictor", error))
        return
    network.forward = run
    like = next(network.parameters())
    start = torch.zeros((1, 2, talker.config.hidden_size), dtype=like.dtype, device=like.device)
    try:
        # As the talker calls it, so that it is compiled before anybody waits
        with torch.no_grad():
            predictor.generate(
                inputs_embeds=start,
                max_new_tokens=talker.config.num_code_groups - 1,
                do_sample=False,
                output_hidden_states=True,
                return_dict_in_generate=True,
            )
    except Exception as error:
        if network.forward is run:
            # Something else than the compiled network failed.
            raise error from None


def _fallen(part: str, error: Exception) -> str:
    words = " ".join(str(error).split())[:200]
    return f"The {part} runs plain, since it could not be made quicker ({type(error).__name__}: {words})."


def _graph(run: Any, example: Any) -> Callable[[Any], Any]:
    """Capture a CUDA graph, as torch's documentation of graphs has it: warm up beside, then capture."""
    import torch

    static = example.clone()
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside), torch.inference_mode():
        for _ in range(3):
            run(static)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.inference_mode():
        out = run(static)

    def replay(codes: Any) -> Any:
        static.copy_(codes)
        graph.replay()
        return out

    return replay

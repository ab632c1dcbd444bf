"""How documents travel to their tasks."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.contract import payload


def noise(size: int) -> str:
    return random.Random(size).randbytes(size // 2).hex()


@pytest.mark.parametrize("size", [0, 100, 8192, 20_000, 100_000, 300_000, 400_000])
def test_what_is_packed_and_split_comes_whole(size: int) -> None:
    document = {"text": noise(size), "äöü": "\N{SNOWMAN}"}
    packed = payload.pack(document)
    first, meta = payload.split(packed)
    assert len(first) <= payload.MAX_PAYLOAD
    assert (len(packed) > payload.MAX_PAYLOAD) == bool(meta)
    assert all(len(part) < 128 << 10 for part in meta.values())  # of a variable of a process
    assert payload.joined(first, meta) == packed
    job = {"Payload": base64.b64encode(first).decode(), "Meta": meta | {"other": "x"}}
    assert payload.of_job(job) == packed
    assert payload.unpack(packed) == document


def test_a_patch_of_the_largest_size_fits() -> None:
    # Base85, as in binary patches, is what compresses least.
    text = base64.b85encode(random.Random(0).randbytes(210_000)).decode()[:262_144]
    assert len(text) > 260_000
    payload.pack({"patch": text})


def test_what_is_too_large_is_refused_with_its_size() -> None:
    with pytest.raises(payload.PayloadTooLargeError) as caught:
        payload.pack({"text": noise(600_000)})
    assert caught.value.size > payload.MAX_PACKED
    with pytest.raises(payload.PayloadTooLargeError):
        payload.pack({"text": "x" * payload.MAX_DOCUMENT})


def test_a_damaged_part_is_an_error() -> None:
    with pytest.raises(ValueError):
        payload.joined(b"", {payload.PART_KEYS[0]: "no base64!"})
    assert payload.of_job({"Payload": "", "Meta": {payload.PART_KEYS[0]: "?"}}) == b""


@given(st.binary(max_size=200))
def test_anything_unpacks_or_is_refused(raw: bytes) -> None:
    for packed in (raw, b"\x1f\x8b" + raw):
        try:
            payload.unpack(packed)
        except ValueError as error:
            assert "; " in str(error)

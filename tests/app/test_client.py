"""The same functions through gradio_client and MCP, as a bot's author meets them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import av
import pytest
from fakes import FakePipeline, Server
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

Files = dict[str, Path]


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Client:
    return Client(server.url, verbose=False, download_files=str(tmp_path))


def result_path(result: dict | str) -> Path:
    """The client gives a video as its path, or with its subtitles beside it."""
    return Path(result["video"] if isinstance(result, dict) else result)


def test_talk_returns_a_playable_mp4_and_nothing_else(client: Client, files: Files, server: Server) -> None:
    result = client.predict(
        portrait=handle_file(files["portrait"]),
        audio=handle_file(files["voice"]),
        seed=7,
        expression_scale=0.5,
        size=256,
        restore="detail",
        visible_tag=True,
        consent=True,
        api_name="/talk",
    )
    with av.open(str(result_path(result))) as container:
        kinds = {stream.type for stream in container.streams}
        assert kinds == {"video", "audio"}
        assert len(list(container.decode(video=0))) == 25
    call = server.fake.calls[-1]
    assert (call["seed"], call["expression_scale"], call["motion_scale"], call["size"]) == (7, 0.5, 1.0, 256)
    assert call["restore"] == "detail" and call["visible_tag"] is True


def test_reenact_returns_a_playable_mp4(client: Client, files: Files, server: Server) -> None:
    result = client.predict(
        portrait=handle_file(files["portrait"]),
        video={"video": handle_file(files["driving"])} if takes_video_dict(client) else handle_file(files["driving"]),
        relative=False,
        consent=True,
        api_name="/reenact",
    )
    with av.open(str(result_path(result))) as container:
        assert container.streams.video[0].width == 256
    assert server.fake.calls[-1]["relative"] is False
    assert server.fake.calls[-1]["size"] is None


def test_reenact_hands_on_its_strengths(client: Client, files: Files, server: Server) -> None:
    client.predict(
        portrait=handle_file(files["portrait"]),
        video=handle_file(files["driving"]),
        expression_scale=0.5,
        motion_scale=1.5,
        consent=True,
        api_name="/reenact",
    )
    assert (server.fake.calls[-1]["expression_scale"], server.fake.calls[-1]["motion_scale"]) == (0.5, 1.5)


def test_listen_to_a_recording(client: Client, files: Files, server: Server) -> None:
    result = client.predict(
        portrait=handle_file(files["portrait"]),
        audio=handle_file(files["voice"]),
        attitude="positive",
        attitude_scale=1.5,
        seed=3,
        consent=True,
        api_name="/listen",
    )
    with av.open(str(result_path(result))) as container:
        assert {stream.type for stream in container.streams} == {"video", "audio"}
    call = server.fake.calls[-1]
    assert Path(call["sound"]).suffix == ".wav" and call["speaker_video"] is None
    assert (call["attitude"], call["attitude_scale"], call["seed"], call["layout"]) == ("positive", 1.5, 3, "listener")


def test_listen_to_a_video_beside_it(client: Client, files: Files, server: Server) -> None:
    client.predict(
        portrait=handle_file(files["portrait"]),
        speaker_video=handle_file(files["driving"]),
        layout="side-by-side",
        consent=True,
        api_name="/listen",
    )
    call = server.fake.calls[-1]
    assert Path(call["speaker_video"]).suffix == ".mp4" and call["attitude"] == "neutral"
    assert call["layout"] == "side-by-side"


def test_listen_needs_a_speaker(client: Client, files: Files) -> None:
    with pytest.raises(AppError, match="Add a speaker first"):
        client.predict(portrait=handle_file(files["portrait"]), consent=True, api_name="/listen")


def takes_video_dict(client: Client) -> bool:
    info = client.view_api(return_format="dict")["named_endpoints"]["/reenact"]["parameters"]
    return "subtitles" in str(next(p for p in info if p["parameter_name"] == "video"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"consent": False}, "I may use this face and voice"),
        ({"portrait": None}, "Add a portrait first"),
        ({"portrait": "text"}, "text.png is not a picture"),
        ({"size": 30}, "Size must be 0 or from 64 to 2048 pixels"),
        ({"expression_scale": 9}, "2"),
        ({"seed": -1}, "0"),
    ],
)
def test_refusals_are_sentences(client: Client, files: Files, changes: dict, sentence: str) -> None:
    asked = {"portrait": "portrait", "audio": "voice", "consent": True} | changes
    asked = {k: handle_file(files[v]) if k in ("portrait", "audio") and v else v for k, v in asked.items()}
    with pytest.raises(AppError) as refusal:
        client.predict(**asked, api_name="/talk")
    assert sentence in str(refusal.value)
    assert "Traceback" not in str(refusal.value)


def test_consent_is_refused_when_it_is_not_given_at_all(client: Client, files: Files) -> None:
    with pytest.raises(AppError, match="I may use this face and voice"):
        client.predict(portrait=handle_file(files["portrait"]), audio=handle_file(files["voice"]), api_name="/talk")


def test_a_crash_tells_no_detail(client: Client, files: Files) -> None:
    with pytest.raises(AppError) as refusal:
        client.predict(
            portrait=handle_file(files["crash"]), audio=handle_file(files["voice"]), consent=True, api_name="/talk"
        )
    assert "Something went wrong on our side" in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_cancel_stops_the_work_and_progress_was_told(client: Client, files: Files, server: Server) -> None:
    server.fake.frames, server.fake.delay = 1000, 0.05
    job = client.submit(
        portrait=handle_file(files["portrait"]), audio=handle_file(files["voice"]), consent=True, api_name="/talk"
    )
    deadline = time.monotonic() + 10
    while not (told := job.status().progress_data) or not told[0].index:
        assert time.monotonic() < deadline, "no progress was told"
        time.sleep(0.05)
    assert (told[0].length, told[0].desc) == (1000, "Drawing frames")
    (running,) = server.studio.jobs()
    assert running.visitor.address == "127.0.0.1" and running.visitor.session
    job.cancel()
    asked = time.monotonic()
    assert server.fake.cancelled.wait(3), "the pipeline was not told to stop"
    assert server.fake.last_frame - asked < 1


def test_uploads_and_clips_expire_but_examples_stay(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import app
    from app_limits import Limits

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "server"))
    page, studio = app.build_app(lambda: FakePipeline(frames=5), Limits(keep_seconds=4))
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **app.launch_options(studio))
    try:
        client = Client(url, verbose=False, download_files=str(tmp_path / "client"))
        examples = {path for path in (tmp_path / "server").rglob("*") if path.is_file()}
        client.predict(
            portrait=handle_file(files["portrait"]), audio=handle_file(files["voice"]), consent=True, api_name="/talk"
        )
        assert len({path for path in (tmp_path / "server").rglob("*") if path.is_file()} - examples) == 3
        deadline = time.monotonic() + 20
        while left := {path for path in (tmp_path / "server").rglob("*") if path.is_file()} - examples:
            assert time.monotonic() < deadline, f"still on the server: {left}"
            time.sleep(0.2)
        assert all(path.exists() for path in examples)
    finally:
        page.close(verbose=False)
        studio.close()


def test_endpoints_are_named_typed_and_documented(client: Client) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/talk", "/listen", "/reenact", "/share", "/unshare"}
    share = {p["parameter_name"]: p for p in endpoints["/share"]["parameters"]}
    assert list(share) == ["clip", "days", "portrait", "audio", "video"]
    assert [name for name, p in share.items() if p["parameter_has_default"]] == ["days", "portrait", "audio", "video"]
    assert (share["days"]["python_type"]["type"], share["days"]["parameter_default"]) == ("int", 7)
    assert [p["parameter_name"] for p in endpoints["/unshare"]["parameters"]] == ["link", "secret"]
    talk = {p["parameter_name"]: p for p in endpoints["/talk"]["parameters"]}
    names = [
        "portrait",
        "audio",
        "seed",
        "expression_scale",
        "motion_scale",
        "size",
        "restore",
        "visible_tag",
        "consent",
    ]
    assert list(talk) == names
    assert {name: talk[name]["python_type"]["type"] for name in names[2:] if name != "restore"} == {
        "seed": "int",
        "expression_scale": "float",
        "motion_scale": "float",
        "size": "int",
        "visible_tag": "bool",
        "consent": "bool",
    }
    assert talk["consent"]["parameter_default"] is False
    assert talk["restore"]["type"]["enum"] == ["none", "detail", "gfpgan"]
    assert talk["restore"]["parameter_default"] == "none"
    listen = {p["parameter_name"]: p for p in endpoints["/listen"]["parameters"]}
    assert list(listen) == [
        "portrait", "audio", "attitude", "speaker_video", "seed", "attitude_scale", "expression_scale", "motion_scale",
        "layout", "size", "restore",
        "visible_tag", "consent",
    ]  # fmt: skip
    assert listen["attitude"]["type"]["enum"] == ["positive", "neutral", "negative"]
    assert listen["layout"]["type"]["enum"] == ["listener", "side-by-side"]
    optional = {name: p["parameter_default"] for name, p in listen.items() if p["parameter_has_default"]}
    assert optional["audio"] is None and optional["speaker_video"] is None and optional["attitude"] == "neutral"
    assert [p["parameter_name"] for p in endpoints["/reenact"]["parameters"]] == [
        "portrait", "video", "relative", "expression_scale", "motion_scale", "size", "restore",
        "visible_tag", "consent",
    ]  # fmt: skip


def test_mcp_offers_the_same_tools(server: Server) -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def tools() -> dict:
        async with (
            streamable_http_client(server.url + "gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return {tool.name: tool for tool in (await session.list_tools()).tools}

    offered = asyncio.run(tools())
    assert len(offered) == 5
    share = next(tool for name, tool in offered.items() if name.endswith("share") and not name.endswith("unshare"))
    assert "Give a clip a link" in share.description
    assert "only if whoever opens the link" in share.inputSchema["properties"]["portrait"]["description"]
    unshare = next(tool for name, tool in offered.items() if name.endswith("unshare"))
    assert "secret" in unshare.inputSchema["properties"]
    talk = next(tool for name, tool in offered.items() if name.endswith("talk"))
    assert "Make a portrait speak" in talk.description
    assert "same seed" in talk.inputSchema["properties"]["seed"]["description"]
    listen = next(tool for name, tool in offered.items() if name.endswith("listen"))
    assert "Make a portrait listen" in listen.description
    assert "positive, neutral or negative" in listen.inputSchema["properties"]["attitude"]["description"]

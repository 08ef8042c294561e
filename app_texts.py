"""Every text of the page in English and Chinese, in one table, and how a component gets the one that is wanted.

What the pipeline says of somebody's files (refusals, warnings) is English in either language: those sentences are the
command line's and Python's too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import gradio as gr

from app_share_texts import SHARE_TEXTS

LANGUAGES = {"en": "English", "zh": "中文"}

TEXTS: dict[str, tuple[str, str]] = {
    **SHARE_TEXTS,
    # The frame
    "tagline": (
        "One portrait and a voice make a head that talks, or one that listens.",
        "一张肖像，一段声音：让它开口说话，或者静静倾听。",
    ),
    "language": ("Language", "语言"),
    "terms": (
        "Everything is computed on this server; no other is called. Uploads and clips are removed after {kept}. Use "
        "only faces and voices that you may use; clips are marked as AI-generated. The models are for research and "
        "non-commercial use only.",
        "所有计算都在本服务器上完成，不会调用其他服务。上传的文件和视频会在{kept}后删除。请只使用您有权使用的面孔和声音；"
        "视频均带有“AI 生成”标记。模型仅限研究和非商业用途。",
    ),
    # Inputs
    "portrait": ("1. Portrait", "1. 肖像"),
    "portrait_examples": ("Example portraits", "示例肖像"),
    "speak": ("Speak", "说话"),
    "listen": ("Listen", "倾听"),
    "follow": ("Follow a video", "跟随视频"),
    "voice": ("2. Voice", "2. 声音"),
    "voice_examples": ("Example voices", "示例声音"),
    "to_voice": ("To a voice", "听声音"),
    "to_video": ("To a video", "看视频"),
    "speaker_voice": ("2. The speaker's voice", "2. 说话者的声音"),
    "speaker_video": ("2. The speaker's video", "2. 说话者的视频"),
    "video_examples": ("Example videos", "示例视频"),
    "driving": ("2. Driving video", "2. 驱动视频"),
    "layout": ("The clip shows", "画面内容"),
    "layout_listener": ("Listener alone", "只有倾听者"),
    "layout_both": ("Beside the speaker", "与说话者并排"),
    "attitude": ("Attitude", "态度"),
    "positive": ("Positive", "积极"),
    "neutral": ("Neutral", "中性"),
    "negative": ("Negative", "消极"),
    "options": ("Options", "选项"),
    "expression": ("Expression", "表情幅度"),
    "motion": ("Head movement", "头部动作"),
    "plainness": ("Attitude strength", "态度强度"),
    "size": ("Size", "尺寸"),
    "size_original": ("Original", "原始"),
    "seed": ("Seed", "随机种子"),
    "sharpness": ("Sharpness", "清晰度"),
    "as_drawn": ("As drawn", "直接渲染"),
    "own_detail": ("The portrait's own detail", "保留肖像细节"),
    "gfpgan": ("GFPGAN (needs its weights)", "GFPGAN（需要其权重）"),
    "tag": ('Show an "AI-generated" tag in the picture', "在画面中显示“AI 生成”标签"),
    "relative": ("Keep the portrait's own face at rest", "以肖像自身的表情为基准"),
    "relative_info": ("Off: same person", "同一个人时可关闭"),
    "consent_voice": ("I may use this face and voice", "我有权使用这张面孔和这段声音"),
    "consent_video": ("I may use this face and video", "我有权使用这张面孔和这段视频"),
    "make_talk": ("Make it speak", "让它说话"),
    "make_listen": ("Make it listen", "让它倾听"),
    "make_reenact": ("Make it follow", "让它跟随"),
    "stop": ("Stop", "停止"),
    # The look at a portrait
    "looking": ("Looking at the picture …", "正在检查图片……"),
    "look_good": ("This picture works well.", "这张图片很合适。"),
    "look_fair": ("This picture works; a better one would help.", "这张图片可用，换一张会更好。"),
    "look_bad": ("This picture cannot be used.", "这张图片无法使用。"),
    "look_face": ("face {height} px high", "面部高 {height} 像素"),
    # The stage
    "empty": ("Your clip will play here.", "视频将在这里播放。"),
    "speak_means": (
        "The portrait says a recording: lips, blinks, gaze and head follow the voice.",
        "肖像说出一段录音：嘴唇、眨眼、视线和头部都随声音而动。",
    ),
    "listen_means": (
        "The portrait hears somebody out: it nods, smiles or frowns at fitting moments.",
        "肖像倾听他人说话：在合适的时刻点头、微笑或皱眉。",
    ),
    "follow_means": (
        "The portrait moves as the face in a video does.",
        "肖像跟随视频中的面孔而动。",
    ),
    "steps_title": ("How to", "使用方法"),
    "step_1": ("Choose a portrait, or one of the examples.", "选择一张肖像，或使用示例。"),
    "step_2": ("Add a voice or a video.", "添加声音或视频。"),
    "step_3": ("Confirm that you may use them, and start.", "确认您有权使用，然后开始。"),
    "stopped": ("Stopped. Nothing was kept.", "已停止，没有保留任何内容。"),
    "refused": ("This did not work", "未能完成"),
    "waiting": ("Waiting for a free place", "正在排队"),
    "loading": ("Loading the models", "正在加载模型"),
    "portrait_stage": ("Reading the portrait", "正在读取肖像"),
    "speaker": ("Watching the speaker", "正在观察说话者"),
    "rendering": ("Drawing frames", "正在绘制画面"),
    "finishing": ("Finishing the file", "正在完成文件"),
    "frames": ("{done} of {total} frames", "第 {done} 帧，共 {total} 帧"),
    "left": ("about {time} left", "大约还需 {time}"),
    "ahead_one": ("1 clip comes before yours", "前面还有 1 个视频"),
    "ahead_many": ("{ahead} clips come before yours", "前面还有 {ahead} 个视频"),
    "live": ("Playing while it is being made", "边生成边播放"),
    "made_in": ("made in {time}", "用时 {time}"),
    "attitude_fact": ("{attitude} attitude", "态度：{attitude}"),
    "seed_fact": ("seed {seed}", "种子 {seed}"),
    "done_say": ("The clip is done.", "视频已完成。"),
    "download": ("Download the clip", "下载视频"),
    "before": ("Before", "之前"),
    "after": ("After", "之后"),
    "compare": ("Before and after: how much of the portrait lies over the clip", "前后对比：肖像覆盖视频的比例"),
    "movement": ("How it moved", "动作曲线"),
    "movement_hint": ("for the curious", "供好奇者查看"),
    "sound": ("Sound", "声音"),
    "lips": ("Lips' opening", "嘴唇开合"),
    "pitch": ("Nod", "点头"),
    "yaw": ("Turn", "转头"),
    "roll": ("Tilt", "歪头"),
    "movement_alt": (
        "Over {time}: the lips open up to {lips} % of the face's height; the head nods through {pitch}°, turns through "
        "{yaw}° and tilts through {roll}°.",
        "{time}内：嘴唇最多张开至面部高度的 {lips}%；点头幅度 {pitch}°，转头 {yaw}°，歪头 {roll}°。",
    ),
    # The check of a clip
    "verify": ("Was a clip made here?", "检验视频来源"),
    "verify_file": ("A clip to check", "待检验的视频"),
    "verify_marked": ("Made with Tête-à-tête, unchanged", "由 Tête-à-tête 生成，未被修改"),
    "verify_unsigned": ("Says it is AI-generated, unsigned", "自称 AI 生成，但没有签名"),
    "verify_tampered": ("Changed after it was made", "生成后被修改过"),
    "verify_foreign": ("Marked by another tool", "带有其他工具的标记"),
    "verify_unmarked": ("No mark", "没有标记"),
    "verify_unchecked": ("Could not be checked fully", "无法完整检验"),
    # Times
    "seconds": ("{s} s", "{s} 秒"),
    "minutes": ("{m} min", "{m} 分钟"),
    "minutes_seconds": ("{m} min {s} s", "{m} 分 {s} 秒"),
    "hours": ("{h} h {m} min", "{h} 小时 {m} 分钟"),
}

Kind = TypeVar("Kind")


def say(key: str, language: str = "en", **values: object) -> str:
    """The text named `key` in a language; unknown languages get English.

    Raises:
        KeyError: if there is no such text.
    """
    return TEXTS[key][language == "zh"].format(**values)


def duration(seconds: float, language: str = "en") -> str:
    """`seconds` as people say them: "8 s", "2 min 5 s", "1 h 3 min"."""
    whole = max(1, round(seconds))
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return say("seconds", language, s=rest)
    if minutes < 60:
        return say("minutes_seconds" if rest else "minutes", language, m=minutes, s=rest)
    return say("hours", language, h=minutes // 60, m=minutes % 60)


def worded(component: Kind, **texts: Any) -> Kind:
    """Give a component its texts, in English, and remember them for `reworded`.

    Args:
        component: any Gradio component or block.
        texts: for each of its properties the key of a text, a list of (key, value) for `choices`, or a function that
            takes the language.
    """
    component.texts = texts  # type: ignore[attr-defined]
    for name, text in texts.items():
        setattr(component, name, _in(text, "en"))
    return component


def with_texts(blocks: Iterable[Any]) -> list[Any]:
    """Those of `blocks` that `worded` has seen."""
    return [block for block in blocks if hasattr(block, "texts")]


def reworded(components: list[Any], language: str) -> list[Any]:
    """For each component the update that brings its texts into a language."""
    return [gr.update(**{name: _in(text, language) for name, text in c.texts.items()}) for c in components]


def _in(text: Any, language: str) -> Any:
    if callable(text):
        return text(language)
    if isinstance(text, list):
        return [(say(key, language) if key in TEXTS else key, value) for key, value in text]
    return say(text, language)

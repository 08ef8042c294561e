"""Texts of sharing in English and Chinese: on the page, and on the page of a shared clip."""

from __future__ import annotations

SHARE_TEXTS: dict[str, tuple[str, str]] = {
    # Under the result
    "share": ("Share by link", "通过链接分享"),
    "share_days": ("The link works for", "链接有效期"),
    "share_day": ("1 day", "1 天"),
    "share_more_days": ("{days} days", "{days} 天"),
    "share_inputs": (
        "Also share my portrait and sound, so that others can open it in the editor",
        "同时分享我的肖像和声音，让他人可以在编辑器中打开",
    ),
    "share_note": (
        "Until you share, nothing is kept. Whoever has the link can watch the clip and see its settings.",
        "在您分享之前，什么都不会保留。拥有链接的人可以观看视频并看到其设置。",
    ),
    "share_make": ("Make a link", "生成链接"),
    "share_link": ("Link to the clip", "视频链接"),
    "share_visit": ("Look at its page", "查看分享页面"),
    "share_delete": ("Delete the link", "删除链接"),
    "share_made": (
        "Ends on {date} UTC. Only this browser can delete it sooner.",
        "{date}（UTC）到期。只有此浏览器可以提前删除。",
    ),
    "share_with_inputs": ("Your portrait and sound are shared with it.", "您的肖像和声音也一并分享。"),
    "share_failed_here": (
        "Something went wrong on our side; please try once more.",
        "服务器出错了，请再试一次。",
    ),
    "share_deleted": ("Deleted. The link no longer works.", "已删除，链接不再有效。"),
    "share_opened": ("The clip's settings and what it was made from are set.", "已载入该视频的设置和素材。"),
    "share_opened_bare": (
        "The clip's settings are set. Add a portrait and a voice of your own.",
        "已载入该视频的设置。请添加您自己的肖像和声音。",
    ),
    # The page of a shared clip
    "shared_talk": ("A portrait speaks", "一张肖像开口说话"),
    "shared_listen": ("A portrait listens", "一张肖像静静倾听"),
    "shared_reenact": ("A portrait follows a video", "一张肖像跟随视频"),
    "shared_made": ("AI-generated with Tête-à-tête from one picture.", "由 Tête-à-tête 用一张图片生成的 AI 视频。"),
    "shared_settings": ("Settings", "设置"),
    "shared_edit": ("Open in the editor", "在编辑器中打开"),
    "shared_edit_bare": (
        "The editor opens with these settings; you add a picture and a voice of your own.",
        "编辑器会载入这些设置；请自行添加图片和声音。",
    ),
    "shared_edit_inputs": (
        "The editor opens with these settings, and with the portrait and sound that its maker shared.",
        "编辑器会载入这些设置，以及作者分享的肖像和声音。",
    ),
    "shared_download": ("Download", "下载"),
    "shared_copy": ("Copy the link", "复制链接"),
    "shared_copied": ("Copied", "已复制"),
    "shared_delete": ("Delete", "删除"),
    "shared_sure": ("Delete this clip and its link for everybody?", "要为所有人删除此视频及其链接吗？"),
    "shared_failed": ("It could not be deleted just now; please try again.", "暂时无法删除，请重试。"),
    "shared_until": ("This link ends on {date} UTC.", "此链接于 {date}（UTC）到期。"),
    "shared_gone": ("This clip is not here", "视频不存在"),
    "shared_gone_why": (
        "Its maker deleted it, its time is over, or the link is not whole.",
        "作者已将其删除、链接已过期，或链接不完整。",
    ),
    "shared_trouble": (
        "The shared clips cannot be reached just now; please try again in a minute.",
        "暂时无法访问，请稍后再试。",
    ),
    "shared_home": ("Make a clip of your own", "制作您自己的视频"),
    "shared_yes": ("yes", "是"),
    "shared_no": ("no", "否"),
    "shared_renderer": ("Renderer", "渲染器"),
    "shared_relative": ("Keeps its own face at rest", "以自身表情为基准"),
}
"""English and Chinese by key, as in `app_texts`, which takes them in."""

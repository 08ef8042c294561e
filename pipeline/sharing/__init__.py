"""Sharing clips by link: what is kept, for how long, where, and who may delete it.

A clip is kept only when its maker asks for it, under an id that nobody can guess, until it expires or its maker
deletes it with the secret that sharing returned. Where it is kept is a store's affair: a folder with SQLite
(`folder`), or a dataset repository on the Hub (`dataset`) for machines whose disk does not last. Nothing here knows of
the web: the page that shows a shared clip is `app_share_page.py`.

>>> from pipeline.sharing import open_shares
>>> shares = open_shares()
>>> receipt = shares.share("out.mp4", days=7)
>>> shares.remove(receipt.share.id, receipt.secret)
"""

from __future__ import annotations

from pipeline.sharing.records import CLIP, POSTER, Limits, Receipt, Share, is_id
from pipeline.sharing.shares import Shares, open_shares

__all__ = ["CLIP", "POSTER", "Limits", "Receipt", "Share", "Shares", "is_id", "open_shares"]

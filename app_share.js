// A shared clip's page: copying its link, and deleting it by whoever made it.
"use strict";
(() => {
  const id = location.pathname.replace(/\/+$/, "").split("/").pop();
  const key = "tete-share:" + id;
  const say = document.getElementById("say");
  const stored = {
    get: () => { try { return localStorage.getItem(key); } catch { return null; } },
    set: (value) => { try { localStorage.setItem(key, value); } catch { /* private window: this visit alone */ } },
    drop: () => { try { localStorage.removeItem(key); } catch { /* as above */ } },
  };

  // The maker's own link ends in #delete=SECRET. It stays in this browser, and leaves the address before it is copied.
  let secret = stored.get();
  const handed = location.hash.match(/^#delete=([\w-]+)$/);
  if (handed) {
    secret = handed[1];
    stored.set(secret);
    history.replaceState(null, "", location.pathname);
  }

  const copy = document.getElementById("copy");
  if (navigator.clipboard) {
    const words = copy.textContent;
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(location.origin + location.pathname);
      copy.textContent = copy.dataset.done;
      setTimeout(() => { copy.textContent = words; }, 2000);
    });
  }

  const remove = document.getElementById("delete");
  if (secret) {
    remove.hidden = false;
    remove.addEventListener("click", async () => {
      if (!confirm(remove.dataset.sure)) return;
      remove.disabled = true;
      const answer = await fetch(location.pathname, { method: "DELETE", headers: { "X-Share-Secret": secret } })
        .catch(() => null);
      if (answer && answer.ok) {
        stored.drop();
        location.reload();
      } else {
        remove.disabled = false;
        say.textContent = remove.dataset.failed;
      }
    });
  }
})();

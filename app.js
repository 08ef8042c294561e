/* What Gradio leaves undone on the page: the clip that plays while it is made and its change to the whole file, the
   slider of before and after, what screen readers hear, where the keyboard is, and which language is wanted. */
(() => {
  const one = (selector) => document.querySelector(selector);
  const KEY = "tete-language";
  const stored = () => { try { return localStorage.getItem(KEY); } catch { return null; } };

  const wanted = () => stored() || ((navigator.languages?.[0] || navigator.language || "").startsWith("zh") ? "zh" : "en");
  window.tete = {
    language: wanted,
    keep: (language) => {
      try { localStorage.setItem(KEY, language); } catch { /* private windows may refuse */ }
      document.documentElement.lang = language;
    },
  };
  // Gradio's own words follow what the visitor chose last time.
  if (stored()) Object.defineProperty(navigator, "language", { get: stored, configurable: true });

  /* The clip while it is being made. Safari plays the growing playlist, the others the pieces end to end. */
  const apple = /AppleWebKit/.test(navigator.userAgent) && !/Chrom|Android/.test(navigator.userAgent);
  let pressed = false;

  function openLive(video) {
    if (video.dataset.open) return;
    video.dataset.open = "1";
    pressed = false;
    video.src = apple ? video.dataset.playlist : video.dataset.pieces;
    video.addEventListener("play", () => { pressed = true; });
    video.addEventListener("pause", () => { if (!video.ended) video.dataset.paused = "1"; });
    video.addEventListener("play", () => { delete video.dataset.paused; });
  }

  // Started as soon as it will not run dry: what is drawn, and will be by then, is ahead of what is shown.
  function playLive(card, video) {
    if (pressed || !video || video.readyState < 2) return;
    const [done, total, speed] = ["done", "total", "speed"].map((name) => Number(card.dataset[name]));
    if (total && done >= total * (1 - Math.min(1, speed / 25)) * 1.05) {
      pressed = true;
      video.play().catch(() => { /* the browser wants a touch first; the controls are there */ });
    }
  }

  // The whole file takes the place of the pieces, at the same moment of the clip.
  function handOver(live, clip) {
    if (live.dataset.over) return;
    live.dataset.over = "1";
    const stage = one("#theatre");
    const finish = () => {
      stage.classList.remove("swapping");
      live.closest("figure").hidden = true;
      live.pause();
      live.removeAttribute("src");
      live.load();
    };
    if (!live.currentTime) { finish(); return; }
    stage.classList.add("swapping");
    clip.muted = true;
    let asked = false;
    const seek = () => {
      if (asked) return;
      asked = true;
      const still = live.dataset.paused && !live.ended;
      clip.addEventListener("seeked", () => {
        clip.muted = live.muted;
        clip.volume = live.volume;
        if (still) clip.pause(); else clip.play().catch(() => {});
        finish();
      }, { once: true });
      clip.currentTime = live.ended ? 0 : Math.min(live.currentTime, Math.max(0, clip.duration - 0.05));
    };
    if (clip.readyState >= 1) seek(); else clip.addEventListener("loadedmetadata", seek, { once: true });
    setTimeout(() => { if (stage.classList.contains("swapping")) { clip.muted = false; finish(); } }, 4000);
  }

  /* Before and after: the portrait over the clip, as far as the slider says. */
  let portrait = "";

  function layPortrait(share) {
    const clip = one("#clip video");
    let picture = one("#before");
    if (!clip || !portrait) return;
    if (!picture) {
      picture = document.createElement("img");
      picture.id = "before";
      picture.alt = "";
      one("#theatre").append(picture);
    }
    if (picture.src !== portrait) picture.src = portrait;
    const [outer, inner] = [one("#theatre").getBoundingClientRect(), clip.getBoundingClientRect()];
    Object.assign(picture.style, {
      left: `${inner.left - outer.left}px`, top: `${inner.top - outer.top}px`,
      width: `${inner.width}px`, height: `${inner.height}px`,
      clipPath: `inset(0 ${100 - share}% 0 0)`, display: share > 0 ? "block" : "none",
    });
  }

  document.addEventListener("input", (event) => {
    if (event.target.matches?.(".wipe input")) layPortrait(Number(event.target.value));
  });
  window.addEventListener("resize", () => {
    const slider = one(".wipe input");
    if (slider) layPortrait(Number(slider.value));
  });

  /* What happens on the stage, for who cannot see it; and the stage in view when something begins. */
  let state = "";

  function watchStage() {
    const card = one("#stage .card");
    const now = card ? ["working", "done", "refusal", "quiet"].find((name) => card.classList.contains(name)) : "";
    const announcer = one("#announcer");
    const words = card?.dataset.say || "";
    if (announcer && announcer.textContent !== words) announcer.textContent = words;
    const video = one("#live video");
    if (video) { openLive(video); if (now === "working") playLive(card, video); }
    const clip = one("#clip video");
    if (video && clip && now === "done") handOver(video, clip);
    if (now === state) return;
    if (now === "working") {
      portrait = one("#portrait img")?.currentSrc || "";
      one("#before")?.remove();
    }
    if (now === "working" || now === "refusal") {
      const place = one("#result").getBoundingClientRect();
      if (place.top > innerHeight * 0.35 || place.bottom < 80) {
        const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
        one("#result").scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
      }
    }
    state = now;
  }

  /* The button that was pressed is gone; its counterpart gets the keyboard. */
  let last = null;
  document.addEventListener("focusin", (event) => { last = event.target; });
  function keepFocus() {
    const id = last?.id || "";
    if (!/^(make|stop)-/.test(id) || document.activeElement !== document.body || (last.isConnected && last.offsetParent)) return;
    const other = one(`#${id.startsWith("make") ? id.replace("make", "stop") : id.replace("stop", "make")}`);
    if (other?.offsetParent) other.focus({ preventScroll: true });
  }

  /* Gradio gives neither its example pictures nor its sources a name. */
  function nameThings() {
    for (const button of document.querySelectorAll(".examples .gallery-item:not([aria-label])")) {
      const media = button.querySelector("img, video");
      if (!media) continue;
      const file = decodeURIComponent((media.currentSrc || media.src).split("/").pop()).replace(/\.\w+$/, "");
      button.setAttribute("aria-label", file.replaceAll("_", " "));
    }
    const main = one(".gradio-container main");
    if (main && !document.documentElement.lang) document.documentElement.lang = wanted();
  }

  let due = false;
  new MutationObserver(() => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; watchStage(); keepFocus(); nameThings(); });
  }).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ["class", "data-say", "src"] });
})();

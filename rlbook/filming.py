"""Films of agents, as HTML that plays in a notebook.

Neither a display nor ffmpeg is needed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import gymnasium

from rlbook.arguments import check_whole
from rlbook.evaluation import Agent

if TYPE_CHECKING:
    from IPython.display import HTML


def film(
    agent: Agent,
    env: gymnasium.Env[Any, Any],
    *,
    seed: int = 0,
    max_frames: int = 100,
    title: str = "",
    fps: int | None = None,
) -> HTML:
    """Return one episode as an animation with a play button.

    Args:
        agent: any object with a `predict` method.
        env: an environment with `render_mode="rgb_array"`.
        seed: seed of the episode.
        max_frames: largest number of frames; the film stops there even if the episode goes on.
        title: text above the picture.
        fps: frames per second; by default the `render_fps` of the environment's metadata, or 4.

    Raises:
        ValueError: the environment does not render arrays, or `max_frames` is below 1.
    """
    check_whole("max_frames", max_frames, 1)
    if env.render_mode != "rgb_array":
        raise ValueError(f"env.render_mode must be 'rgb_array', got {env.render_mode!r}")
    import matplotlib.pyplot as plt
    from IPython.display import HTML
    from matplotlib.animation import FuncAnimation

    obs, _ = env.reset(seed=seed)
    frames: list[Any] = [env.render()]
    ended = False
    while not ended and len(frames) < max_frames:
        obs, _, terminated, truncated, _ = env.step(agent.predict(obs))
        frames.append(env.render())
        ended = terminated or truncated

    height, width = frames[0].shape[:2]
    figure = plt.figure(figsize=(width / 80, height / 80 + (0.35 if title else 0)), dpi=80)
    axes = figure.add_axes((0, 0, 1, height / 80 / figure.get_figheight()))
    axes.axis("off")
    picture = axes.imshow(frames[0])
    figure.suptitle(title, y=0.99, va="top", fontsize=11)

    def show(index: int) -> tuple[Any, ...]:
        picture.set_data(frames[index])
        return (picture,)

    fps = fps or env.metadata.get("render_fps", 4)
    animation = FuncAnimation(figure, show, frames=len(frames), interval=1000 / fps)
    html = animation.to_jshtml(default_mode="once")
    plt.close(figure)
    return HTML(_without_downloads(html))


# Matplotlib's player draws its buttons with an icon font from the internet. We replace each icon
# with a Unicode symbol, so that the film also plays offline.
BUTTONS = {
    "minus": "−",
    "fast-backward": "⏮",
    "step-backward": "⏪",
    "play fa-flip-horizontal": "◀",
    "pause": "⏸",
    "play": "▶",
    "step-forward": "⏩",
    "fast-forward": "⏭",
    "plus": "+",
}


def _without_downloads(html: str) -> str:
    html = re.sub(r"<link\b[^>]*>", "", html)
    for name, sign in BUTTONS.items():
        html = html.replace(f'<i class="fa fa-{name}"></i>', sign + "\N{VARIATION SELECTOR-15}")
    return html

"""Films of agents, as HTML that plays in a notebook: no display and no ffmpeg needed."""

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
    """One episode as an animation with a play button.

    Args:
        agent: anything with `predict`.
        env: an environment with `render_mode="rgb_array"`.
        seed: of the episode.
        max_frames: stop after so many pictures.
        title: shown above the picture.
        fps: pictures a second; by default what the environment says.

    Raises:
        ValueError: the environment does not render arrays.
    """
    check_whole("max_frames", max_frames, 1)
    if env.render_mode != "rgb_array":
        raise ValueError(f"env.render_mode={env.render_mode!r} is not allowed: 'rgb_array'")
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


# The buttons of matplotlib's player are letters of a font that it would fetch from the internet.
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

"""Languages by the bundled model, without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from udfs.language import detect


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The cell membrane controls what enters and leaves the cell.", "en"),
        ("水在标准大气压下的沸点是一百摄氏度。", "zh"),
        ("水的沸點是多少？", "zh"),
        ("你好", "zh"),
        ("孔子曰", "zh"),
        ("東京は日本の首都で、人口が最も多い都市です。", "ja"),
        ("서울은 대한민국의 수도이며 가장 큰 도시이다.", "ko"),
        ("La membrane cellulaire contrôle les échanges avec le milieu extérieur.", "fr"),
        ("Die Zellmembran regelt, was in die Zelle hinein und aus ihr heraus gelangt.", "de"),
        ("Клеточная мембрана отделяет содержимое клетки от внешней среды.", "ru"),
        ("WHAT IS THE BOILING POINT OF WATER AT SEA LEVEL?", "en"),
        ("The cell\nmembrane controls\r\nwhat enters and leaves\nthe cell.", "en"),
        (r"证明 $\frac{\partial f}{\partial x} = \lim_{h \rightarrow 0} \frac{f(x+h)-f(x)}{h}$ 成立", "zh"),
        ("```cpp\nint main() { return solve(board, best, answer); }\n```\nThe board is searched from the left.", "en"),
        (
            "for (int i = head[x]; i; i = nxt[i])\n  if (ver[i] != fa[x]) {\n    dp[ver[i]] = dp[x] + 1;\n    return ans;",
            "und",
        ),
        ("| split | $O(n)$ |\n| append | $O(m + n)$ |", "und"),
        ("Simplify: $-8 \\sqrt{180 x^{4} y^{2}}$ and $3 y - z = 9$", "en"),
        (
            "[^temurin]: [Eclipse Temurin](https://a.net/) 即为原 [AdoptOpenJDK](https://b.net/)，已移交至 [Eclipse 基金会](https://c.org/)",
            "zh",
        ),
        ("", "und"),
        ("x^2 + y^2 = 3.14", "und"),
        ("ok then", "und"),
        ("\ud800\ud801", "und"),
    ],
)
def test_detect(text: str, code: str) -> None:
    assert detect([text]) == [code]


def test_answers_do_not_depend_on_the_batch() -> None:
    texts = ["The river flows north through the valley.", "", "河水向北流过山谷。", "Le fleuve coule vers le nord."]
    assert detect(texts) == [detect([text])[0] for text in texts] == ["en", "und", "zh", "fr"]
    assert detect([]) == []


def test_a_long_text_is_not_judged_by_its_beginning_alone() -> None:
    assert detect(["Licensed under the terms of this notice. " * 10 + "河水向北流过山谷，汇入大海。" * 400]) == ["zh"]


def test_the_model_is_read_without_a_network() -> None:
    program = (
        "import socket\n"
        "def refuse(*_): raise SystemExit('network asked for')\n"
        "socket.getaddrinfo = socket.socket.connect = refuse\n"
        "from udfs.language import detect\n"
        "print(detect(['A sentence that the script rule cannot decide.']))\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("['en']", 0), done.stderr

"""A real model, as people have it, answers."""

import subprocess
import sys


def test_a_real_model_answers_a_simple_question(smollm2):
    command = [sys.executable, "-m", "sixgig", "run", str(smollm2), "-p", "Who wrote Hamlet?"]
    done = subprocess.run(
        [*command, "--temperature", "0", "-n", "24"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Shakespeare" in done.stdout

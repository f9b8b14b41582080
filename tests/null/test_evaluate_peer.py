"""What bench.score_peer reads from llama-perplexity's output."""

import pytest

from bench.score_peer import peer_figures, table

OUTPUT = """
Mean PPL(Q)                   :  29.332555 ±   1.786614
Mean PPL(base)                :  29.298298 ±   1.783368
Mean ln(PPL(Q)/PPL(base))     :  -0.001169 ±   0.002809
Mean    KLD:   0.006924 ±   0.000236
Maximum KLD:   0.238397
99.9%   KLD:   0.120590
99.0%   KLD:   0.044001
95.0%   KLD:   0.021910
90.0%   KLD:   0.014936
Median  KLD:   0.004096
RMS Δp    :  1.946 ± 0.082 %
Same top p: 94.314 ± 0.513 %
"""


def test_figures_get_our_names_and_percentages_become_shares():
    figures = peer_figures(OUTPUT)
    assert figures["perplexity"] == 29.332555 and figures["log_ratio"] == -0.001169
    assert figures["same_top1"] == pytest.approx(0.94314) and figures["rms_p_change"] == pytest.approx(
        0.01946
    )
    lines = table({"peer": figures}, {"peer": 2.0}).splitlines()
    assert len(lines) == 2 + len(figures) and lines[-1].split() == ["seconds", "2.0"]


def test_output_without_figures_ends_the_comparison():
    with pytest.raises(SystemExit, match="no base_perplexity"):
        peer_figures(OUTPUT.replace("PPL(base)  ", "PPL"))

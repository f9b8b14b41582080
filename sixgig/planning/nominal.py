"""The kernels of one nominal core, for machines whose own were not measured.

Measured on one core's share of a two-core AMD Zen 4 with the pinned wheel (AVX2), `python -m bench.nominal`
(LOG.md); in weights per second. Memory bandwidth bounds them separately.
"""

from sixgig.hardware import Kernels, KernelSpeed

NOMINAL_CORE = Kernels(
    engine="2026.10.11549",
    threads=1,
    step_s=7.1e-07,
    row_s=2.5e-08,
    row_width=2048,
    speeds=(
        KernelSpeed("F32", 3.13e9, 18.58e9, 0.0, 0.0),
        KernelSpeed("F16", 7.86e9, 20.31e9, 0.0, 0.0),
        KernelSpeed("BF16", 7.06e9, 19.45e9, 0.0, 0.0),
        KernelSpeed("Q8_0", 14.97e9, 36.20e9, 0.0, 0.0),
        KernelSpeed("Q6_K", 17.84e9, 56.00e9, 0.0, 0.0),
        KernelSpeed("Q5_K", 17.41e9, 60.69e9, 0.0, 0.0),
        KernelSpeed("Q5_1", 12.28e9, 14.53e9, 0.0, 0.0),
        KernelSpeed("Q5_0", 13.89e9, 26.58e9, 0.0, 0.0),
        KernelSpeed("Q4_K", 18.89e9, 59.42e9, 26.44e9, 49.31e9),
        KernelSpeed("Q4_1", 16.47e9, 19.14e9, 0.0, 0.0),
        KernelSpeed("Q4_0", 15.21e9, 32.22e9, 21.06e9, 33.54e9),
        KernelSpeed("IQ4_NL", 11.25e9, 23.05e9, 21.02e9, 35.87e9),
        KernelSpeed("IQ4_XS", 16.41e9, 41.37e9, 0.0, 0.0),
        KernelSpeed("MXFP4", 14.57e9, 16.77e9, 19.18e9, 32.01e9),
        KernelSpeed("Q3_K", 14.86e9, 55.40e9, 0.0, 0.0),
        KernelSpeed("IQ3_S", 6.57e9, 56.26e9, 0.0, 0.0),
        KernelSpeed("IQ3_XXS", 9.36e9, 54.40e9, 0.0, 0.0),
        KernelSpeed("Q2_K", 24.34e9, 58.12e9, 0.0, 0.0),
        KernelSpeed("IQ2_S", 13.18e9, 52.88e9, 0.0, 0.0),
        KernelSpeed("IQ2_XS", 11.30e9, 55.09e9, 0.0, 0.0),
        KernelSpeed("IQ2_XXS", 11.61e9, 51.92e9, 0.0, 0.0),
        KernelSpeed("IQ1_M", 11.77e9, 46.31e9, 0.0, 0.0),
        KernelSpeed("IQ1_S", 11.25e9, 47.26e9, 0.0, 0.0),
    ),
)

"""Independent closed forms of sinusoids, rotary encodings and context extension, to test an implementation against.

Written from the papers by someone who had not seen `helpers/`.
Slow on purpose: one scalar at a time, with 30 digits. Indices start at 0, whatever the paper does.
"""

from mpmath import mp, mpf

mp.dps = 30


# ---------------------------------------------------------------------------------------------------------------------
# Sinusoidal
# ---------------------------------------------------------------------------------------------------------------------


def sinusoidal_frequencies(d_model: int, base: float, convention: str) -> list:
    """Vaswani et al. 2017, section 3.5: base^(-2i/d); tensor2tensor's released code instead base^(-i/(d/2 - 1)).

    With d = 2 there is a single frequency, 1, in every convention."""
    half = d_model // 2
    result = []
    for i in range(half):
        if convention == "tensor2tensor":
            exponent = mpf(i) / max(half - 1, 1)
        else:
            exponent = mpf(2 * i) / d_model
        result.append(mpf(base) ** (-exponent))
    return result


def sinusoidal_row(p: float, d_model: int, base: float, convention: str) -> list:
    """Vaswani et al. 2017, section 3.5: PE(p, 2i) = sin(p w_i), PE(p, 2i + 1) = cos(p w_i).

    "halves" and "tensor2tensor": all the sines first, then all the cosines."""
    angles = [mpf(p) * w for w in sinusoidal_frequencies(d_model, base, convention)]
    if convention == "paper":
        row = []
        for a in angles:
            row.append(mp.sin(a))
            row.append(mp.cos(a))
        return row
    return [mp.sin(a) for a in angles] + [mp.cos(a) for a in angles]


def sinusoidal_grid_row(position: tuple, d_model: int, base: float, convention: str) -> list:
    """Two-dimensional sine-cosine positions (MAE, He et al. 2021): an equal share of the channels for each axis."""
    row = []
    for coordinate in position:
        row += sinusoidal_row(coordinate, d_model // len(position), base, convention)
    return row


def shift_matrix(offset: float, d_model: int, base: float) -> list:
    """Vaswani et al. 2017, section 3.5: PE(p + k) is a linear function of PE(p); M is written from
    sin(a + b) = cos b sin a + sin b cos a and cos(a + b) = -sin b sin a + cos b cos a."""
    matrix = [[mpf(0) for _ in range(d_model)] for _ in range(d_model)]
    frequencies = sinusoidal_frequencies(d_model, base, "paper")
    for i in range(d_model // 2):
        b = mpf(offset) * frequencies[i]
        matrix[2 * i][2 * i] = mp.cos(b)
        matrix[2 * i][2 * i + 1] = mp.sin(b)
        matrix[2 * i + 1][2 * i] = -mp.sin(b)
        matrix[2 * i + 1][2 * i + 1] = mp.cos(b)
    return matrix


def sinusoidal_dot(distance: float, d_model: int, base: float) -> mpf:
    """Vaswani et al. 2017, section 3.5: PE(p).PE(p + k) = sum_i cos(k w_i), by the cosine of a difference."""
    total = mpf(0)
    for i in range(d_model // 2):
        total += mp.cos(mpf(distance) * mpf(base) ** (-mpf(2 * i) / d_model))
    return total


# ---------------------------------------------------------------------------------------------------------------------
# Rotary encodings
# ---------------------------------------------------------------------------------------------------------------------


def rope_frequencies(d: int, base: float) -> list:
    """Su et al. 2021, eq. 15 (with i from 0, as in section 3.3): theta_i = base^(-2i/d)."""
    return [mpf(base) ** (-mpf(2 * i) / d) for i in range(d // 2)]


def rope_angle(m: float, theta: float) -> mpf:
    """Su et al. 2021, eq. 15: position m turns a pair of frequency theta by m theta."""
    return mpf(m) * mpf(theta)


def _pair(i: int, d: int, layout: str) -> tuple:
    """The two channels of pair i: (2i, 2i + 1) in Su et al. 2021, eq. 15; (i, i + d/2) in the half-split layout."""
    if layout == "interleaved":
        return 2 * i, 2 * i + 1
    return i, i + d // 2


def rotate(x: list, angles: list, layout: str) -> list:
    """Su et al. 2021, eq. 15: pair i, (a, b), becomes (a cos t - b sin t, a sin t + b cos t) with t = angles[i]."""
    d = len(x)
    result = [mpf(value) for value in x]
    for i in range(d // 2):
        first, second = _pair(i, d, layout)
        a, b, t = mpf(x[first]), mpf(x[second]), mpf(angles[i])
        result[first] = a * mp.cos(t) - b * mp.sin(t)
        result[second] = a * mp.sin(t) + b * mp.cos(t)
    return result


def rope(
    x: list,
    m: float,
    base: float,
    layout: str,
    rotary_dim: int | None = None,
    frequencies: list | None = None,
    last: bool = False,
) -> list:
    """Su et al. 2021, eq. 15; with rotary_dim, the first rotary_dim channels are a vector of their own
    (GPT-NeoX's partial rotary), or the last ones (the decoupled key of DeepSeek-V2, eq. 14-19), and the others pass."""
    turning = len(x) if rotary_dim is None else rotary_dim
    thetas = rope_frequencies(turning, base) if frequencies is None else frequencies
    angles = [rope_angle(m, theta) for theta in thetas]
    if last:
        return [mpf(value) for value in x[: len(x) - turning]] + rotate(list(x[len(x) - turning :]), angles, layout)
    return rotate(list(x[:turning]), angles, layout) + [mpf(value) for value in x[turning:]]


def layout_permutation(d: int) -> list:
    """Pairings of Su et al. 2021, eq. 15 against the half-split one: the even channels, then the odd ones."""
    return [2 * i for i in range(d // 2)] + [2 * i + 1 for i in range(d // 2)]


def grid_positions(height: int, width: int) -> list:
    """(row, column) of every cell, row-major: the two coordinates of axial RoPE (EleutherAI's rotary post, 2021)."""
    return [(row, column) for row in range(height) for column in range(width)]


def axial_pairs(d: int, axes: int | tuple, base: float) -> list:
    """Axial RoPE (EleutherAI's rotary post, 2021): the channels are split between the axes, and each share is a RoPE
    of its own width (Su et al. 2021, eq. 15): d/axes, or as listed."""
    widths = [d // axes] * axes if isinstance(axes, int) else axes
    result = []
    for axis, width in enumerate(widths):
        for i in range(width // 2):
            result.append((mpf(base) ** (-mpf(2 * i) / width), axis))
    return result


def mixed_frequencies(d: int, heads: int, base: float) -> list:
    """RoPE-Mixed (Heo et al. 2024), released initial values: lengths base^(-4i/d) along a direction, then across it.
    The direction of head h, drawn at random there, is here the middle of its part of a quarter turn.
    [axis][head][pair]."""
    lengths = [mpf(base) ** (-mpf(4 * i) / d) for i in range(d // 4)]
    directions = [(mpf(h) + mpf(1) / 2) / heads * mp.pi / 2 for h in range(heads)]
    x = [[m * mp.cos(a) for m in lengths] + [m * mp.cos(a + mp.pi / 2) for m in lengths] for a in directions]
    y = [[m * mp.sin(a) for m in lengths] + [m * mp.sin(a + mp.pi / 2) for m in lengths] for a in directions]
    return [x, y]


def mixed_angle(position: tuple, frequencies: tuple) -> mpf:
    """RoPE-Mixed (Heo et al. 2024), eq. for the mixed rotation: x theta_x + y theta_y."""
    return mpf(position[0]) * mpf(frequencies[0]) + mpf(position[1]) * mpf(frequencies[1])


def mrope_pairs(d: int, sections: list, base: float) -> list:
    """M-RoPE (Qwen2-VL, Wang et al. 2024): one set of d/2 frequencies, cut into consecutive sections."""
    result = []
    i = 0
    for axis, size in enumerate(sections):
        for _ in range(size):
            result.append((mpf(base) ** (-mpf(2 * i) / d), axis))
            i += 1
    return result


def mrope_interleaved_pairs(d: int, sections: list, base: float) -> list:
    """M-RoPE with interleaved sections (Qwen3-VL): pairs are dealt to axes 0, 1, 2, 0, 1, 2, ...; an axis other than
    the first drops out when it has its share, and its turn goes to the first."""
    dealt = [0] * len(sections)
    result = []
    for i in range(d // 2):
        axis = i % len(sections)
        if dealt[axis] == sections[axis]:
            axis = 0
        dealt[axis] += 1
        result.append((mpf(base) ** (-mpf(2 * i) / d), axis))
    return result


def multimodal_positions(segments: list) -> list:
    """Qwen2-VL (Wang et al. 2024), section 2.1: text has equal ids on the three axes; a grid counts each axis on its
    own; every segment starts one above the largest id before it."""
    ids = []
    for segment in segments:
        start = 1 + max((max(row) for row in ids), default=-1)
        if isinstance(segment, int):
            ids += [(start + i,) * 3 for i in range(segment)]
            continue
        frames, rows, columns = segment
        for n in range(frames * rows * columns):
            frame, cell = divmod(n, rows * columns)
            ids.append((start + frame, start + cell // columns, start + cell % columns))
    return ids


def rotate_by_coordinates(x: list, coordinates: list, pairs: list, layout: str) -> list:
    """Axial RoPE and M-RoPE: Su et al. 2021, eq. 15, where pair i reads the coordinate of its own axis."""
    angles = [mpf(coordinates[axis]) * mpf(frequency) for frequency, axis in pairs]
    return rotate(x, angles, layout)


def xpos_decay(d: int, gamma: float) -> list:
    """xPos (Sun et al. 2022): zeta_i = (i/(d/2) + gamma) / (1 + gamma)."""
    return [(mpf(2 * i) / d + mpf(gamma)) / (1 + mpf(gamma)) for i in range(d // 2)]


def xpos_logit(q: list, k: list, m: float, n: float, base: float, gamma: float, scale_base: float, layout: str) -> mpf:
    """xPos (Sun et al. 2022): rotated q times zeta^(m/B), rotated k times zeta^(-n/B), dot product."""
    d = len(q)
    turned_q = rope(q, m, base, layout)
    turned_k = rope(k, n, base, layout)
    zeta = xpos_decay(d, gamma)
    total = mpf(0)
    for i in range(d // 2):
        grow = zeta[i] ** (mpf(m) / mpf(scale_base))
        shrink = zeta[i] ** (-mpf(n) / mpf(scale_base))
        for channel in _pair(i, d, layout):
            total += (grow * turned_q[channel]) * (shrink * turned_k[channel])
    return total


def pope_frequencies(d: int, base: float) -> list:
    """PoPE (Gopalakrishnan et al. 2025): theta_c = base^(-(c - 1)/d), c = 1..d; the minus sign, missing in print,
    is that of the released packages."""
    return [mpf(base) ** (-mpf(c) / d) for c in range(d)]


def softplus(x: float) -> mpf:
    """PoPE (Gopalakrishnan et al. 2025), eqs. 3-6, the magnitude: ln(1 + e^x)."""
    return mp.log1p(mp.exp(mpf(x)))


def pope_logit(q: list, k: list, t: float, s: float, base: float, delta: list) -> mpf:
    """PoPE (Gopalakrishnan et al. 2025), eq. 6: sum_c softplus(q_c) softplus(k_c) cos((s - t) theta_c + delta_c)."""
    theta = pope_frequencies(len(q), base)
    total = mpf(0)
    for c in range(len(q)):
        phase = (mpf(s) - mpf(t)) * theta[c] + mpf(delta[c])
        total += softplus(q[c]) * softplus(k[c]) * mp.cos(phase)
    return total


# ---------------------------------------------------------------------------------------------------------------------
# Context extension: every rule returns (d/2 frequencies, attention factor)
# ---------------------------------------------------------------------------------------------------------------------


def rotations(theta: float, length: float) -> mpf:
    """YaRN (Peng et al. 2023), eq. 17: the full turns L theta / (2 pi) that a pair makes over `length` positions."""
    return mpf(length) * mpf(theta) / (2 * mp.pi)


def temperature_factor(s: float) -> mpf:
    """YaRN (Peng et al. 2023), eq. 22: sqrt(1/t) = 0.1 ln s + 1, the factor of q and of k."""
    return mp.log(mpf(s)) / 10 + 1


def correction_dim(turns: float, d: int, base: float, length: float) -> mpf:
    """YaRN (Peng et al. 2023), eq. 17 solved for the index: length base^(-2i/d) / (2 pi) = turns."""
    return mpf(d) * mp.log(mpf(length) / (2 * mp.pi * mpf(turns))) / (2 * mp.log(mpf(base)))


def blend(theta: float, s: float, keep: float) -> mpf:
    """YaRN (Peng et al. 2023), eqs. 19-20: (1 - gamma) theta / s + gamma theta, with gamma = keep."""
    return (1 - mpf(keep)) * mpf(theta) / mpf(s) + mpf(keep) * mpf(theta)


def _clip01(value: mpf) -> mpf:
    """The value, limited to [0, 1]."""
    return min(max(value, mpf(0)), mpf(1))


def plain(d: int, base: float, s: float, L: int, seq_len: int | None) -> tuple:
    """Su et al. 2021, eq. 15: nothing is changed."""
    return rope_frequencies(d, base), mpf(1)


def position_interpolation(d: int, base: float, s: float, L: int, seq_len: int | None) -> tuple:
    """Position Interpolation (Chen et al. 2023): position m becomes m/s, that is theta_i becomes theta_i/s."""
    return [theta / mpf(s) for theta in rope_frequencies(d, base)], mpf(1)


def ntk_aware(d: int, base: float, s: float, L: int, seq_len: int | None) -> tuple:
    """NTK-aware (YaRN, Peng et al. 2023, definition 1 and eq. 16): base' = base s^(d/(d - 2))."""
    return rope_frequencies(d, mpf(base) * mpf(s) ** (mpf(d) / (d - 2))), mpf(1)


def dynamic_ntk(d: int, base: float, s: float, L: int, seq_len: int | None) -> tuple:
    """Dynamic NTK as released (idea: YaRN, Peng et al. 2023): once l > L,
    base' = base alpha^(d/(d - 2)) with alpha = s l/L - (s - 1); the unchanged frequencies before."""
    length = L if seq_len is None else seq_len
    if length <= L:
        return rope_frequencies(d, base), mpf(1)
    alpha = mpf(s) * mpf(length) / mpf(L) - (mpf(s) - 1)
    return rope_frequencies(d, mpf(base) * alpha ** (mpf(d) / (d - 2))), mpf(1)


def ntk_by_parts(
    d: int, base: float, s: float, L: int, seq_len: int | None, beta_fast: float, beta_slow: float
) -> tuple:
    """NTK-by-parts (YaRN, Peng et al. 2023, eqs. 17-20): gamma is linear in the turns r, from 0 at r = beta_slow
    (the paper's alpha) to 1 at r = beta_fast (its beta)."""
    result = []
    for theta in rope_frequencies(d, base):
        r = rotations(theta, L)
        gamma = _clip01((r - mpf(beta_slow)) / (mpf(beta_fast) - mpf(beta_slow)))
        result.append(blend(theta, s, gamma))
    return result, mpf(1)


def yarn(
    d: int,
    base: float,
    s: float,
    L: int,
    seq_len: int | None,
    beta_fast: float,
    beta_slow: float,
    ramp: str,
    truncate: bool,
    temperature: bool,
) -> tuple:
    """YaRN (Peng et al. 2023): NTK-by-parts with the factor of eq. 22. ramp "code", as released: linear
    in the pair's index between the pairs making beta_fast and beta_slow turns, ends limited to [0, d - 1] (sic)."""
    factor = temperature_factor(s) if temperature else mpf(1)
    if ramp == "paper":
        return ntk_by_parts(d, base, s, L, seq_len, beta_fast, beta_slow)[0], factor
    low = correction_dim(beta_fast, d, base, L)
    high = correction_dim(beta_slow, d, base, L)
    if truncate:
        low, high = mp.floor(low), mp.ceil(high)
    low = min(max(low, mpf(0)), mpf(d - 1))
    high = min(max(high, mpf(0)), mpf(d - 1))
    if low == high:
        high += mpf(1) / 1000
    result = []
    for i, theta in enumerate(rope_frequencies(d, base)):
        keep = 1 - _clip01((i - low) / (high - low))
        result.append(blend(theta, s, keep))
    return result, factor


def longrope(d: int, base: float, s: float, L: int, seq_len: int | None, short: list, long: list) -> tuple:
    """LongRoPE (Ding et al. 2024): theta_i / lambda_i with searched lambda. As released: the long list iff
    seq_len > L; factor sqrt(1 + ln s / ln L) with either list."""
    length = L if seq_len is None else seq_len
    factors = long if length > L else short
    thetas = rope_frequencies(d, base)
    result = [thetas[i] / mpf(factors[i]) for i in range(d // 2)]
    return result, mp.sqrt(1 + mp.log(mpf(s)) / mp.log(mpf(L)))


def llama3(d: int, base: float, s: float, L: int, seq_len: int | None, low: float, high: float) -> tuple:
    """Llama 3.1's released rule, in wavelengths: shorter than L/high kept, longer than L/low divided by s, between
    them the blend with u = (L/wavelength - low) / (high - low). low == high: a hard switch."""
    result = []
    for theta in rope_frequencies(d, base):
        wavelength = 2 * mp.pi / theta
        if low == high:
            result.append(theta if wavelength <= mpf(L) / mpf(low) else theta / mpf(s))
        elif wavelength < mpf(L) / mpf(high):
            result.append(theta)
        elif wavelength > mpf(L) / mpf(low):
            result.append(theta / mpf(s))
        else:
            u = (mpf(L) / wavelength - mpf(low)) / (mpf(high) - mpf(low))
            result.append((1 - u) * theta / mpf(s) + u * theta)
    return result, mpf(1)


def abf(d: int, base: float, s: float, L: int, seq_len: int | None, new_base: float) -> tuple:
    """Adjusted base frequency (Xiong et al. 2023): only the base changes."""
    return rope_frequencies(d, new_base), mpf(1)


def p_rope(d: int, base: float, s: float, L: int, seq_len: int | None, keep: float, interpolate: bool) -> tuple:
    """p-RoPE (Barbero et al. 2024): the fastest floor(keep d/2) pairs turn, denominator d; the others have frequency 0.

    The 1e-12 undoes the rounding of a fraction such as 0.3, so that 0.3 of 10 pairs is 3 pairs."""
    turning = int(mp.floor(mpf(keep) * d / 2 + mpf("1e-12")))
    result = []
    for i, theta in enumerate(rope_frequencies(d, base)):
        if i >= turning:
            result.append(mpf(0))
        else:
            result.append(theta / mpf(s) if interpolate else theta)
    return result, mpf(1)

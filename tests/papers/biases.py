"""Closed forms of position in the attention logits (biases, relative vectors) and of learned position tables.

Written from the papers, without a look at the code that they check: an independent oracle for tests.
Slow on purpose: one scalar at a time, 30 digits.
"""

from mpmath import mp, mpf

mp.dps = 30

Row = list[mpf]
Table = list[list[mpf]]


def _dot(a: list, b: list) -> mpf:
    """sum_c a_c b_c."""
    return sum((mpf(a[c]) * mpf(b[c]) for c in range(len(a))), mpf(0))


# ---------------------------------------------------------------------------------------------------- scalar biases


def alibi_slopes(n_heads: int, max_bias: float = 8) -> Row:
    """Press et al. 2021 (ALiBi), section 3: m_h = 2^(-8h/n), h = 1..n, for n a power of two.
    Otherwise the authors' released rule: all slopes of the power of two below n, then the 1st, 3rd, 5th, ...
    slope of twice that power, until there are n. max_bias is the paper's 8 (MPT's configuration states it)."""
    power = 1
    while 2 * power <= n_heads:
        power = 2 * power
    slopes = [mpf(2) ** (-mpf(max_bias * h) / power) for h in range(1, power + 1)]
    h = 1
    while len(slopes) < n_heads:
        slopes.append(mpf(2) ** (-mpf(max_bias * h) / (2 * power)))
        h = h + 2
    return slopes


def alibi(i: int, j: int, slope: float, future_slope: float | None = None) -> mpf:
    """Press et al. 2021 (ALiBi), section 3: the bias -m (i - j), here -m |i - j|.
    For a key in the future (j > i) the slope is future_slope, if there is one."""
    m = mpf(future_slope) if j > i and future_slope is not None else mpf(slope)
    return -m * abs(i - j)


def position_temperature(position: int, a: float, length: int, shift: int) -> mpf:
    """Llama 4's released code: queries times 1 + a ln(1 + floor((position + shift) / length)), from position 0 on."""
    return 1 + mpf(a) * mp.log(1 + max(position + shift, 0) // length)


def kerple_log(distance: int, r1: float, r2: float) -> mpf:
    """Chi et al. 2022 (KERPLE), logarithmic variant: -r1 log(1 + r2 |m - n|)."""
    return -mpf(r1) * mp.log(1 + mpf(r2) * abs(distance))


def kerple_power(distance: int, r1: float, r2: float) -> mpf:
    """Chi et al. 2022 (KERPLE), power variant: -r1 |m - n|^r2, 0 < r2 <= 2."""
    return -mpf(r1) * mpf(abs(distance)) ** mpf(r2)


def inverse_softplus(y: float) -> mpf:
    """From the definition softplus(x) = log(1 + e^x) = y, hence x = log(e^y - 1); no paper."""
    return mp.log(mp.expm1(mpf(y)))


def fire_share(i: int, j: int, c: float, threshold: float) -> mpf:
    """Li et al. 2023 (FIRE), progressive interpolation with psi(x) = log(c x + 1) and the threshold L:
    psi(|i - j|) / psi(max(L, i))."""
    numerator = mp.log(mpf(c) * abs(i - j) + 1)
    denominator = mp.log(mpf(c) * max(mpf(threshold), mpf(i)) + 1)
    return numerator / denominator


def fire(i: int, j: int, c: float, threshold: float, w1: list, b1: list, w2: list, b2: list) -> Row:
    """Li et al. 2023 (FIRE): b(i, j) = f_theta(share), f_theta a network 1 -> width -> heads with ReLU.
    The bias of head h is b2_h + sum_u w2_hu max(0, w1_u share + b1_u)."""
    share = fire_share(i, j, c, threshold)
    biases = []
    for h in range(len(b2)):
        total = mpf(b2[h])
        for u in range(len(w1)):
            total = total + mpf(w2[h][u]) * max(mpf(0), mpf(w1[u]) * share + mpf(b1[u]))
        biases.append(total)
    return biases


def _sinusoidal_row(p: int, dim: int, base: float) -> Row:
    """Vaswani et al. 2017, section 3.5: sin(p w), cos(p w), w = base^(-2i/dim), i = 0 .. dim/2 - 1."""
    row = []
    for i in range(dim // 2):
        w = mpf(base) ** (-mpf(2 * i) / dim)
        row.append(mp.sin(p * w))
        row.append(mp.cos(p * w))
    return row


def sandwich_kernel(distance: int, dim: int, base: float) -> mpf:
    """Chi et al. 2022 (Sandwich, arXiv 2212.10356): p_m . p_n of two sinusoidal rows with m - n = distance,
    less p_n . p_n, so that it is 0 at distance 0. The waves are counted from 1, as in the authors' code: those of the
    usual row of width dim + 2 at the same rate of decay, without its first."""
    wider = mpf(base) ** (mpf(dim + 2) / dim)  # so that wave i of the wider row is base^(-2i/dim)
    p_m = _sinusoidal_row(distance, dim + 2, wider)[2:]
    p_n = _sinusoidal_row(0, dim + 2, wider)[2:]
    return _dot(p_m, p_n) - _dot(p_n, p_n)


def sandwich_divisors(n_heads: int) -> list[mpf]:
    """Chi et al. 2022: what the kernel of head h = 1 .. n_heads is divided by, 8h / n_heads."""
    return [mpf(8 * h) / n_heads for h in range(1, n_heads + 1)]


def window(i: int, j: int, width: int) -> mpf:
    """Sliding-window attention (Beltagy et al. 2020): 0 if |i - j| < width, else minus infinity."""
    return mpf(0) if abs(i - j) < width else mpf("-inf")


# -------------------------------------------------------------------------------------------------------------- CoPE


def cope_counts(scores: list, allowed: list, max_pos: int) -> Row:
    """Golovneva et al. 2024 (CoPE): p_ij = sum_{t=j}^{i} g_it with g_it = sigmoid(score_t), of one query.
    Keys that are not allowed have gate 0; a count is at most max_pos - 1."""
    counts = []
    for j in range(len(scores)):
        count = mpf(0)
        for t in range(j, len(scores)):
            if allowed[t]:
                count = count + 1 / (1 + mp.exp(-mpf(scores[t])))
        counts.append(min(count, mpf(max_pos - 1)))
    return counts


def read_between(row: list, count: float) -> mpf:
    """Golovneva et al. 2024 (CoPE), interpolation between whole positions:
    (p - floor p) row[ceil p] + (1 - p + floor p) row[floor p]."""
    p = mpf(count)
    low, high = int(mp.floor(p)), int(mp.ceil(p))
    return (p - low) * mpf(row[high]) + (1 - p + low) * mpf(row[low])


def cope(q: list, keys: list, i: int, table: list, max_pos: int) -> Row:
    """Golovneva et al. 2024 (CoPE): the bias q_i . e[p_ij] for j = 0 .. i,
    gates sigmoid(q_i . k_j / sqrt(d)), e[.] interpolated between the vectors of the table."""
    root = mp.sqrt(len(q))
    scores = [_dot(q, keys[j]) / root for j in range(i + 1)]
    counts = cope_counts(scores, [True for j in range(i + 1)], max_pos)
    biases = []
    for j in range(i + 1):
        e = [read_between([table[m][c] for m in range(max_pos)], counts[j]) for c in range(len(q))]
        biases.append(_dot(q, e))
    return biases


# ---------------------------------------------------------------------------------------------------------------- T5


def t5_bucket(distance: int, num_buckets: int, max_distance: int, bidirectional: bool) -> int:
    """Raffel et al. 2020 (T5), section 2.1 and its released code; distance = key minus query. With B buckets a side,
    m = B // 2: n if n < m, else min(B - 1, m + floor((B - m) ln(n/m) / ln(max_distance/m))). The floor is the largest
    t with (max_distance/m)^t <= (n/m)^(B - m), found in whole numbers, without a logarithm."""
    if bidirectional:
        side = num_buckets // 2
        first = side if distance > 0 else 0
        n = abs(distance)
    else:
        side = num_buckets
        first = 0
        n = max(-distance, 0)
    m = side // 2
    if n < m:
        return first + n
    t = 0
    while m + t < side - 1 and max_distance ** (t + 1) * m ** (side - m) <= n ** (side - m) * m ** (t + 1):
        t = t + 1
    return first + m + t


# -------------------------------------------------------------------------------------------------- relative vectors


def clip_row(distance: int, k: int) -> int:
    """Shaw et al. 2018, eqs. 3-4: clip(x, k) = max(-k, min(k, x)), x = j - i, as a row 0 .. 2k of the table."""
    return max(-k, min(k, distance)) + k


def shaw_logit_term(q: list, i: int, j: int, key_table: list, k: int) -> mpf:
    """Shaw et al. 2018, the part of equation 4 that holds a position: q_i . a^K_ij, unscaled."""
    return _dot(q, key_table[clip_row(j - i, k)])


def shaw_logit(q: list, key: list, i: int, j: int, key_table: list, k: int) -> mpf:
    """Shaw et al. 2018, equation 4: e_ij = q_i . (k_j + a^K_ij) / sqrt(d)."""
    a = key_table[clip_row(j - i, k)]
    return _dot(q, [mpf(key[c]) + mpf(a[c]) for c in range(len(q))]) / mp.sqrt(len(q))


def shaw_value_term(weights: list, i: int, value_table: list, k: int) -> Row:
    """Shaw et al. 2018, the part of equation 3 that holds a position: sum_j alpha_ij a^V_ij, j = 0, 1, ..."""
    output = []
    for c in range(len(value_table[0])):
        output.append(
            sum((mpf(weights[j]) * mpf(value_table[clip_row(j - i, k)][c]) for j in range(len(weights))), mpf(0))
        )
    return output


def shaw_output(weights: list, values: list, i: int, value_table: list, k: int) -> Row:
    """Shaw et al. 2018, equation 3: z_i = sum_j alpha_ij (v_j + a^V_ij), keys at positions j = 0, 1, ..."""
    output = []
    for c in range(len(values[0])):
        z = mpf(0)
        for j in range(len(weights)):
            z = z + mpf(weights[j]) * (mpf(values[j][c]) + mpf(value_table[clip_row(j - i, k)][c]))
        output.append(z)
    return output


def deberta_row(i: int, j: int, k: int) -> int:
    """He et al. 2020 (DeBERTa), equation 4's delta(i, j) = 0 if i - j <= -k, 2k - 1 if i - j >= k, else i - j + k."""
    if i - j <= -k:
        return 0
    if i - j >= k:
        return 2 * k - 1
    return i - j + k


def deberta_bucket(distance: int, k: int, farthest: int) -> int:
    """DeBERTa v2 and v3 (He et al. 2021), released code: a distance up to k/2 is its own bucket; beyond,
    k/2 + ceil( (k/2 - 1) ln(distance/(k/2)) / ln((farthest - 1)/(k/2)) ), with the sign of the distance."""
    half = k // 2
    n = abs(distance)
    if n <= half:
        return distance
    share = mp.log(mpf(n) / half) / mp.log(mpf(farthest - 1) / half)
    bucket = half + int(mp.ceil((half - 1) * share - mpf(10) ** -7))  # float32 in the code: 1 is 1
    return bucket if distance > 0 else -bucket


def deberta_terms(
    q_i: list, k_j: list, i: int, j: int, position_keys: list, position_queries: list, k: int, convention: str
) -> tuple[mpf, mpf]:
    """He et al. 2020 (DeBERTa), equation 4: (Q^c_i . K^r_delta(i,j), K^c_j . Q^r_delta(j,i)), unscaled ("paper").
    With the convention "code" the second term reads delta(i, j) too, as the released code does."""
    second = deberta_row(j, i, k) if convention == "paper" else deberta_row(i, j, k)
    return _dot(q_i, position_keys[deberta_row(i, j, k)]), _dot(k_j, position_queries[second])


def deberta_logit(
    q_i: list, k_j: list, i: int, j: int, position_keys: list, position_queries: list, k: int, convention: str
) -> mpf:
    """He et al. 2020 (DeBERTa), equation 4: content-to-content and the two terms, over sqrt(3 d)."""
    first, second = deberta_terms(q_i, k_j, i, j, position_keys, position_queries, k, convention)
    return (_dot(q_i, k_j) + first + second) / mp.sqrt(3 * len(q_i))


def transformer_xl_row(distance: int, dim: int) -> Row:
    """Dai et al. 2019 (Transformer-XL), section 3.3: R_{i-j}, the sinusoidal row of the signed distance i - j.
    In the order of the released code: all sines, then all cosines."""
    row = _sinusoidal_row(distance, dim, 10_000)
    return row[0::2] + row[1::2]


def transformer_xl_terms(
    q: list, key: list, i: int, j: int, u: list, v: list, w_r: list, farthest: int | None = None
) -> tuple[mpf, mpf, mpf, mpf]:
    """Dai et al. 2019 (Transformer-XL), section 3.3, terms (a) to (d), unscaled, of one head:
    q_i . k_j, q_i . W_R R_{i-j}, u . k_j, v . W_R R_{i-j}. w_r has a row of d_model numbers per channel of the head.
    farthest: clamp_len of the released code; a distance beyond counts as this one, on either side."""
    distance = i - j
    if farthest is not None:
        distance = max(-farthest, min(farthest, distance))
    r = transformer_xl_row(distance, len(w_r[0]))
    position_key = [_dot(row, r) for row in w_r]
    return _dot(q, key), _dot(q, position_key), _dot(u, key), _dot(v, position_key)


def transformer_xl_logit(
    q: list, key: list, i: int, j: int, u: list, v: list, w_r: list, farthest: int | None = None
) -> mpf:
    """Dai et al. 2019 (Transformer-XL), section 3.3: (a) + (b) + (c) + (d), over sqrt(d) as in the released code."""
    return sum(transformer_xl_terms(q, key, i, j, u, v, w_r, farthest), mpf(0)) / mp.sqrt(len(q))


# ---------------------------------------------------------------------------------------------------- learned tables


def learned_row(table: list, p: int, offset: int) -> Row:
    """Gehring et al. 2017: position p has the trained vector P[p]; here the table's row p + offset."""
    return [mpf(x) for x in table[p + offset]]


def padded_positions(real: list) -> list[int]:
    """Released code of OPT (Zhang et al. 2022) and RoBERTa (Liu et al. 2019): real tokens are counted, padding stands
    one before the first."""
    seen = 0
    out = []
    for s in range(len(real)):
        out.append(seen if real[s] else -1)
        seen = seen + (1 if real[s] else 0)
    return out


def stretch_table(table: list, length: int) -> Table:
    """Dosovitskiy et al. 2020 (ViT), section 3.2, in one dimension: new row r is read linearly at old position
    r (n - 1) / (length - 1), so the first and the last row stay in place."""
    n = len(table)
    output = []
    for r in range(length):
        low, rest = divmod(r * (n - 1), length - 1) if length > 1 else (0, 0)
        high = low + 1 if rest > 0 else low
        part = mpf(rest) / (length - 1) if rest > 0 else mpf(0)
        output.append([(1 - part) * mpf(table[low][c]) + part * mpf(table[high][c]) for c in range(len(table[0]))])
    return output


# --------------------------------------------------------------------------------------------------------- attention


def softmax(row: list) -> Row:
    """Vaswani et al. 2017: e^x_j / sum_t e^x_t; an entry of minus infinity gets 0."""
    powers = [mp.exp(mpf(x)) for x in row]
    total = sum(powers, mpf(0))
    return [power / total for power in powers]


def attention(q: list, k: list, v: list, scale: float, bias: list | None, allowed: list) -> Table:
    """Vaswani et al. 2017, for one head: softmax(scale q_i . k_j + bias_ij) v over the allowed keys.
    The bias is added after scaling (Press et al. 2021, section 3)."""
    output = []
    for i in range(len(q)):
        logits = []
        for j in range(len(k)):
            logit = mpf(scale) * _dot(q[i], k[j])
            if bias is not None:
                logit = logit + mpf(bias[i][j])
            logits.append(logit if allowed[i][j] else mpf("-inf"))
        alpha = softmax(logits)
        output.append([sum((alpha[j] * mpf(v[j][c]) for j in range(len(k))), mpf(0)) for c in range(len(v[0]))])
    return output

/* The one loop that a browser's JavaScript is too slow for: rows of numbers times a
   matrix of weights.

   Built by "nox -s kernel" into kernel.wasm, the same bytes each time. engine.js
   holds the same loop in plain JavaScript: the reference that this one is tested
   against, and what runs where there is no WebAssembly. */

typedef float four __attribute__((vector_size(16)));
/* Rows may begin at any number, not only at every fourth. */
typedef float four_anywhere __attribute__((vector_size(16), aligned(4)));
typedef unsigned four_bits __attribute__((vector_size(16)));
typedef unsigned short four_halves __attribute__((vector_size(8), aligned(2)));

#define ALWAYS static inline __attribute__((always_inline))
enum { ROWS = 4, TIMES = 2 }; /* of the block that stays in registers: 8 sums */

/* 16 bits to 32: exponent and fraction move into place, and 2^112 mends the
   exponent's bias. It holds for the smallest numbers too; infinities and NaN are
   no weights. */
ALWAYS four widen(four_halves halves) {
  four_bits bits = __builtin_convertvector(halves, four_bits);
  four magnitude = (four)((bits & 0x7fff) << 13) * 0x1p112f;
  return (four)((four_bits)magnitude | (bits & 0x8000) << 16);
}

/* Four weights, whichever way they are kept. */
ALWAYS four load(const void *weights, int i, const int half) {
  return half ? widen(*(const four_halves *)((const unsigned short *)weights + i))
              : *(const four_anywhere *)((const float *)weights + i);
}

/* out[t][r] = x[t] · w[r] + bias[r], for a block of times t and rows r whose
   size is known when this is compiled. */
ALWAYS void block(float *out, const float *x, const void *w, const float *bias,
                  int rows, int columns, const int n_times, const int n_rows,
                  const int half) {
  four sums[TIMES][ROWS] = {0};
  int c = 0;
  for (; c + 4 <= columns; c += 4)
    for (int r = 0; r < n_rows; r++) {
      four weights = load(w, r * columns + c, half);
      for (int t = 0; t < n_times; t++)
        sums[t][r] += *(const four_anywhere *)(x + t * columns + c) * weights;
    }
  for (int t = 0; t < n_times; t++)
    for (int r = 0; r < n_rows; r++) {
      four s = sums[t][r];
      float sum = (s[0] + s[1]) + (s[2] + s[3]);
      for (int rest = c; rest < columns; rest++) /* never in 16 bits */
        sum += x[t * columns + rest] * ((const float *)w)[r * columns + rest];
      out[t * rows + r] = bias ? sum + bias[r] : sum;
    }
}

ALWAYS void all_times(float *out, const float *x, const float *w, const float *bias,
                      int times, int rows, int columns, const int n_rows) {
  int t = 0;
  for (; t + TIMES <= times; t += TIMES)
    block(out + t * rows, x + t * columns, w, bias, rows, columns, TIMES, n_rows, 0);
  for (; t < times; t++)
    block(out + t * rows, x + t * columns, w, bias, rows, columns, 1, n_rows, 0);
}

/* x: [times][columns]. weights: [rows][columns]; if `half`, 16 bits each, and
   rows and columns come in fours. out: [times][rows]. wide: room for ROWS rows
   of weights in 32 bits. */
__attribute__((export_name("linear")))
void linear(float *out, const float *x, const void *weights, int half,
            const float *bias, int times, int rows, int columns, float *wide) {
  for (int r = 0; r < rows; r += ROWS) {
    const float *b = bias ? bias + r : 0;
    const float *w = (const float *)weights + r * columns;
    if (half) {
      const unsigned short *h = (const unsigned short *)weights + r * columns;
      if (times == 1) { /* one token: each weight is used once */
        block(out + r, x, h, b, rows, columns, 1, ROWS, 1);
        continue;
      }
      for (int i = 0; i < ROWS * columns; i += 4) *(four *)(wide + i) = load(h, i, 1);
      w = wide;
    }
    if (rows - r >= ROWS) all_times(out + r, x, w, b, times, rows, columns, ROWS);
    else
      for (int one = 0; r + one < rows; one++)
        all_times(out + r + one, x, w + one * columns, b ? b + one : 0, times, rows,
                  columns, 1);
  }
}

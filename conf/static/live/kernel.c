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
typedef signed char four_bytes __attribute__((vector_size(4), aligned(1)));

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

/* Four weights, whichever way they are kept: in 8, 16 or 32 bits. */
ALWAYS four load(const void *weights, int i, const int bits) {
  const char *at = (const char *)weights + i * (bits / 8);
  if (bits == 8) return __builtin_convertvector(*(const four_bytes *)at, four);
  return bits == 16 ? widen(*(const four_halves *)at) : *(const four_anywhere *)at;
}

/* What comes behind the product: the size of a row's whole numbers, and a bias. */
typedef struct { const float *scales, *bias; } ends;

/* out[t][r] = x[t] · w[r] * scales[r] + bias[r], for a block of times t and rows r
   whose size is known when this is compiled. */
ALWAYS void block(float *out, const float *x, const void *w, ends e, int rows,
                  int columns, const int n_times, const int n_rows, const int bits) {
  four sums[TIMES][ROWS] = {0};
  int c = 0;
  for (; c + 4 <= columns; c += 4)
    for (int r = 0; r < n_rows; r++) {
      four weights = load(w, r * columns + c, bits);
      for (int t = 0; t < n_times; t++)
        sums[t][r] += *(const four_anywhere *)(x + t * columns + c) * weights;
    }
  for (int t = 0; t < n_times; t++)
    for (int r = 0; r < n_rows; r++) {
      four s = sums[t][r];
      float sum = (s[0] + s[1]) + (s[2] + s[3]);
      for (int rest = c; rest < columns; rest++) /* only in 32 bits */
        sum += x[t * columns + rest] * ((const float *)w)[r * columns + rest];
      if (e.scales) sum *= e.scales[r];
      out[t * rows + r] = e.bias ? sum + e.bias[r] : sum;
    }
}

/* One token uses each weight once, as it is kept. */
ALWAYS void one_time(float *out, const float *x, const void *w, ends e, int columns,
                     int n_rows, const int bits) {
  if (n_rows == ROWS) block(out, x, w, e, 0, columns, 1, ROWS, bits);
  else block(out, x, w, e, 0, columns, 1, 1, bits);
}

ALWAYS void blocks(float *out, const float *x, const void *w, ends e, int times,
                   int rows, int columns, const int n_rows) {
  int t = 0;
  for (; t + TIMES <= times; t += TIMES)
    block(out + t * rows, x + t * columns, w, e, rows, columns, TIMES, n_rows, 32);
  for (; t < times; t++)
    block(out + t * rows, x + t * columns, w, e, rows, columns, 1, n_rows, 32);
}

/* For many, weights are widened once. */
ALWAYS const void *widened(float *wide, const void *w, int size, const int bits) {
  for (int i = 0; i < size; i += 4) *(four *)(wide + i) = load(w, i, bits);
  return wide;
}

/* x: [times][columns]. weights: [rows][columns], of 8, 16 or 32 bits each; of fewer
   than 32, columns come in fours. scales and bias: [rows], or none.
   out: [times][rows]. wide: room for ROWS rows of weights in 32 bits. */
__attribute__((export_name("linear")))
void linear(float *out, const float *x, const void *weights, int bits,
            const float *scales, const float *bias, int times, int rows, int columns,
            float *wide) {
  for (int r = 0, n; r < rows; r += n, out += n) {
    n = rows - r >= ROWS ? ROWS : 1;
    const void *w = (const char *)weights + r * columns * (bits / 8);
    const ends e = {scales ? scales + r : 0, bias ? bias + r : 0};
    if (times == 1) {
      if (bits == 8) one_time(out, x, w, e, columns, n, 8);
      else if (bits == 16) one_time(out, x, w, e, columns, n, 16);
      else one_time(out, x, w, e, columns, n, 32);
      continue;
    }
    if (bits == 8) w = widened(wide, w, n * columns, 8);
    if (bits == 16) w = widened(wide, w, n * columns, 16);
    if (n == ROWS) blocks(out, x, w, e, times, rows, columns, ROWS);
    else blocks(out, x, w, e, times, rows, columns, 1);
  }
}

/* The interface of a user's kernel in C; see docs/kernels.md. ABI 1.
 *
 * A kernel defines the two functions below, which compute the filtered backward of a convolution:
 * x is (n, c_in, height, width), w (c_out, per_group, k_h, k_w), y and its gradient are
 * (n, c_out, out_h, out_w). All arrays are dense and row-major. REAL is float or double: the kernel
 * is compiled once for each.
 *
 * Patches: there are grid_h x grid_w of them, of y and likewise of x. Patch i has
 *     of y:  rows [i r_h, (i + 1) r_h), cut to [0, out_h);
 *     of x:  rows [in_start_h + i in_length_h, in_start_h + (i + 1) in_length_h), cut to
 *            [0, in_stop_h);
 * and the same for columns.
 *
 * gfbench_save, in the forward, writes
 *     x_sum (n, c_in, grid_h, grid_w): the sums of x over its patches;
 *     w_sum (c_out, per_group):        the sums of w over its windows;
 * either is NULL if it is not wanted, and w_sum if the window is kept.
 *
 * gfbench_gradients, in the backward, writes the gradients from g~ (n, c_out, grid_h, grid_w), the
 * means of grad over the patches of y, each over as many pixels as the patch has:
 *     grad_x (as x):   w_sum^T g~ / (stride_h stride_w) on each pixel of the patch of x, and zero
 *                      on pixels in no patch;
 *     grad_w (as w):   the sum of g~ x_sum / (stride_h stride_w) over images and patches, on every
 *                      tap of the window;
 *     grad_b (c_out):  the sum of grad.
 * A gradient that is not wanted is NULL. Without grad_w x_sum may be NULL, without grad_x w_sum.
 *
 * If keeps_window is not 0, w_sum is w itself: it is applied on the patch grid with dilation
 * dilation_h / r_h and dilation_w / r_w, and grad_w is computed tap by tap.
 *
 * threads is how many threads a kernel may use. Both functions return 0, or another value for a
 * geometry that the kernel does not support. */
#ifndef GFBENCH_H
#define GFBENCH_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t n, c_in, height, width, c_out, per_group,
        k_h, k_w, stride_h, stride_w, pad_top, pad_bottom,
        pad_left, pad_right, dilation_h, dilation_w, groups, r_h,
        r_w, out_h, out_w, grid_h, grid_w, in_start_h,
        in_length_h, in_stop_h, in_start_w, in_length_w, in_stop_w, keeps_window, threads;
} gfbench_t;

int gfbench_save(const gfbench_t *g, const REAL *x, const REAL *w, REAL *x_sum, REAL *w_sum);
int gfbench_gradients(const gfbench_t *g, const REAL *grad, const REAL *x_sum, const REAL *w_sum,
                      REAL *grad_x, REAL *grad_w, REAL *grad_b);

#endif

/* tiles.h - the configuration of the tile unit that both own kernels use. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_TILES_H
#define DG_TILES_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* Eight tiles of 16 rows of 64 bytes for the calling thread, until _tile_release. */
static inline void tiles_configure(void)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } config;
    memset(&config, 0, sizeof config);
    config.palette = 1;
    for (int i = 0; i < 8; i++) {
        config.bytes[i] = 64;
        config.rows[i] = 16;
    }
    _tile_loadconfig(&config);
}

#endif

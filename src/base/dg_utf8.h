/* dg_utf8.h - text of unknown origin: logs, file names, what users typed. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_UTF8_H
#define DG_UTF8_H

#include <stdbool.h>
#include <stdint.h>

/* The character at `text`, of *used bytes; U+FFFD of one byte where none begins there. 0 of one byte at the end. */
uint32_t dg_utf8_decode(const char *text, int *used);
/* Is it no text: controls, line separators, and what turns the direction of writing? */
bool dg_utf8_is_control(uint32_t code);
/* Makes one line of text of any bytes, in place: what is no UTF-8 becomes ?, controls and ends of line become spaces, and the
 * beginning of a character that was cut off at the end goes. */
void dg_utf8_clean(char *text);

#endif

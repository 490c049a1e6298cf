/* Everything that happens while one device is in the slot: hello, the flow as often as it takes, the verdict kept on
 * screen and in the device, until it is taken out. */
#pragma once
#include "station/driver.h"
#include "station/panel.h"

/* Says hello on io and stays with the device until it is gone; what went wrong meanwhile is on the panel and in the
 * log. -1, at once, when no hello came back: ERR_DEVICE_SILENT when nobody is there. io stays the caller's. */
int serve_device(const struct driver *driver, struct io *io, struct panel *panel, struct err *e);

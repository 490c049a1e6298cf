/* One function per operation of the link. Private to the device library. */
#ifndef KEYLINE_SRC_OPERATIONS_H
#define KEYLINE_SRC_OPERATIONS_H

#include "keyline/device.h"
#include "keyline/message.h"

/* Carries out a request; fills `answer`, whose strings point into the device. */
enum kl_error operation_run(
        struct kl_device *d, const struct kl_msg *request, struct kl_msg *answer);

#endif

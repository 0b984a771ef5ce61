/* Included where FreeBSD's interface table is asked; simulated_tap.h answers instead. */

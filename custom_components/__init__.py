# SPDX-License-Identifier: Apache-2.0
"""Custom integrations of this repository; a package so that tests can import them."""

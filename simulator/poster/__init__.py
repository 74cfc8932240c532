"""The LLMSched poster's Table I, computed anew: its published cells, our model of its world, the comparison.

Source: Zhu, Zhu, Chen, Fan, "Towards Efficient Compound Large Language Model System Serving in the Wild".
"""

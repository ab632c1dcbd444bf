[[ template "further_class" (list . 1) ]]
